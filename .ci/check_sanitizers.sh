#!/usr/bin/env bash
# The engine's test under ThreadSanitizer (the thread pool and what runs on it) and under AddressSanitizer and
# UndefinedBehaviorSanitizer (every case on every instruction set); and each of them on a mistake that it must find.
# Then the bindings under the latter two, by the Python tests of all they take and refuse, in the environment that is active.
# Not covered: libgomp's threads (ThreadSanitizer does not know how libgomp waits).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

missing=()
for tool in clang++-14 setarch; do command -v "$tool" >/dev/null || missing+=("$tool"); done
library=libclang_rt.tsan-$(uname -m).a
[[ -e $(clang++-14 -print-file-name="$library" 2>/dev/null) ]] || missing+=("$library")
if ((${#missing[@]})); then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq clang-14 libclang-rt-14-dev util-linux >/dev/null
fi

# must_find TEXT COMMAND ...: the command ends with a report that says so; a race may be missed a few times
must_find() {
  for _ in 1 2 3 4 5; do
    if ! "${@:2}" >"$folder/report" 2>&1 && grep -q "$1" "$folder/report"; then
      echo "found, as it must be: $1"
      return
    fi
  done
  cat "$folder/report"
  echo "not found: $1"
  exit 1
}

# build NAME COMPILER SANITIZERS [OPTION ...]
build() {
  { CXX=$2 cmake -S . -B "build/$1" -DFUSEDSTEP_EXTENSION=OFF -DFUSEDSTEP_ENGINE_TEST=ON -DFUSEDSTEP_SANITIZE="$3" "${@:4}" &&
    cmake --build "build/$1" --parallel 2; } >"$folder/log" || { cat "$folder/log"; exit 1; }
  program=build/$1/tests/engine/engine_test
}

# ThreadSanitizer's shadow needs addresses that some kernels' randomisation takes.
fixed=(setarch "$(uname -m)" -R)
"${fixed[@]}" true 2>/dev/null || fixed=()
export TSAN_OPTIONS=halt_on_error=1
# One level of kernels is enough for the threads: that of an unknown processor.
build thread clang++-14 thread -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=generic
"${fixed[@]}" "$program" --concurrency
must_find "ThreadSanitizer: data race" "${fixed[@]}" "$program" --fault thread

export UBSAN_OPTIONS=print_stacktrace=1
build address g++ address,undefined
"$program" >"$folder/hashes"
echo "AddressSanitizer, UndefinedBehaviorSanitizer: no report in $(wc -l <"$folder/hashes") cases"
must_find "AddressSanitizer: heap-buffer-overflow" "$program" --fault address
must_find "runtime error: .*misaligned address" "$program" --fault undefined

pip install -q --no-deps --target "$folder/package" -C cmake.define.FUSEDSTEP_SANITIZE=address,undefined \
  -C build-dir=build/extension .
# What the bindings take and refuse; the kernels have been seen above. At night, all that calls them.
tests=(refusals step_refusals layouts groups state dropout_refusals batch_norm_refusals batch_norm_saved batch_stats)
[[ -z ${FUSEDSTEP_NIGHTLY-} ]] || tests+=(rules norm dropout batch_norm noise nn_kernels properties)
tests=("${tests[@]/#/tests/test_}") && tests=("${tests[@]/%/.py}")
runtime() { g++ -print-file-name="lib$1.so"; }
LD_PRELOAD="$(runtime asan):$(runtime ubsan):$(runtime stdc++)" PYTHONPATH=$folder/package PYTHONMALLOC=malloc \
  ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 \
  python -m pytest -p no:cacheprovider "${tests[@]}"
