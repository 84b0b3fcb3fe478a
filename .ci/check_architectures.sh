#!/usr/bin/env bash
# The engine's test prints hashes of its results. This script checks that the hashes are the same for gcc and clang, for
# every instruction set of this CPU, for one thread and several, for both kinds of threads, and on aarch64. The program
# for aarch64 is cross-compiled and emulated.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

missing=()
for tool in aarch64-linux-gnu-g++ qemu-aarch64 clang++-14; do command -v "$tool" >/dev/null || missing+=("$tool"); done
if ((${#missing[@]})); then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq g++-aarch64-linux-gnu qemu-user clang-14 >/dev/null
fi

# build NAME COMPILER [OPTION ...]: builds the engine's test in build/NAME
build() {
  CXX=$2 cmake -S . -B "build/$1" -DFUSEDSTEP_EXTENSION=OFF -DFUSEDSTEP_ENGINE_TEST=ON -DFUSEDSTEP_WERROR=ON "${@:3}" \
    >"$folder/log" && cmake --build "build/$1" --parallel 2 >"$folder/log" || { cat "$folder/log"; exit 1; }
}

# same NAME COMMAND ...: runs the command, and fails if its hashes differ from those of gcc
same() {
  "${@:2}" >"$folder/hashes" 2>"$folder/sets" || { cat "$folder/sets"; exit 1; }
  [[ -e $folder/expected ]] || cp "$folder/hashes" "$folder/expected"
  diff "$folder/expected" "$folder/hashes" || { echo "$1: the hashes differ from those of gcc"; exit 1; }
  echo "$1: all $(wc -l <"$folder/hashes") hashes are as expected; $(paste -sd ' ' "$folder/sets")"
}

program=tests/engine/engine_test
build gcc g++
same gcc "build/gcc/$program"
same "gcc, libgomp's threads" "build/gcc/$program" --backend openmp
build clang clang++-14
same clang "build/clang/$program"
build aarch64 aarch64-linux-gnu-g++ -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64
same aarch64 qemu-aarch64 -L /usr/aarch64-linux-gnu "build/aarch64/$program"
