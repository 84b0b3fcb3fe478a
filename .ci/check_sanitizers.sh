#!/usr/bin/env bash
# Runs tests with sanitizers:
# 1. The engine's test runs with ThreadSanitizer, which checks the thread pool and the code that uses it.
# 2. All cases of the engine's test run on every instruction set with AddressSanitizer and UndefinedBehaviorSanitizer.
# 3. Each sanitizer runs on a deliberate mistake, which it must find.
# 4. Python tests of the bindings run with AddressSanitizer and UndefinedBehaviorSanitizer, in the active environment.
# The threads of libgomp are not tested, because ThreadSanitizer does not know how libgomp waits.
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

# must_find TEXT COMMAND ...: the command must fail, and its report must contain TEXT. The command is run up to five
# times, because a sanitizer does not find a race in every run.
must_find() {
  for _ in 1 2 3 4 5; do
    if ! "${@:2}" >"$folder/report" 2>&1 && grep -q "$1" "$folder/report"; then
      echo "found, as expected: $1"
      return
    fi
  done
  cat "$folder/report"
  echo "not found: $1"
  exit 1
}

# build NAME COMPILER SANITIZERS [OPTION ...]: builds the engine's test in build/NAME
build() {
  { CXX=$2 cmake -S . -B "build/$1" -DFUSEDSTEP_EXTENSION=OFF -DFUSEDSTEP_ENGINE_TEST=ON -DFUSEDSTEP_SANITIZE="$3" "${@:4}" &&
    cmake --build "build/$1" --parallel 2; } >"$folder/log" || { cat "$folder/log"; exit 1; }
  program=build/$1/tests/engine/engine_test
}

# ThreadSanitizer needs a fixed range of addresses. With address space randomisation, some Linux kernels use this range.
fixed=(setarch "$(uname -m)" -R)
"${fixed[@]}" true 2>/dev/null || fixed=()
export TSAN_OPTIONS=halt_on_error=1
# For threads, it is enough to test one instruction set. The build is for an unknown processor, which has only one.
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
# These tests are about the arguments that the bindings accept and refuse. The kernels were tested above. In nightly
# runs, more tests that call kernels are added.
tests=(refusals step_refusals layouts groups state dropout_refusals batch_norm_refusals batch_norm_saved batch_stats)
[[ -z ${FUSEDSTEP_NIGHTLY-} ]] || tests+=(rules norm dropout batch_norm noise nn_kernels properties)
tests=("${tests[@]/#/tests/test_}") && tests=("${tests[@]/%/.py}")
runtime() { g++ -print-file-name="lib$1.so"; }
LD_PRELOAD="$(runtime asan):$(runtime ubsan):$(runtime stdc++)" PYTHONPATH=$folder/package PYTHONMALLOC=malloc \
  ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 \
  python -m pytest -p no:cacheprovider "${tests[@]}"
