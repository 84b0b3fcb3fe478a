#!/usr/bin/env bash
# Every object that is compiled for an instruction set exports one table of kernels and nothing else, so that the linker
# cannot put one level's code in another's place. With optimisation and without, where nothing is inlined; gcc and clang.
# Arguments: a compiler, or "" for both; build types instead of these two.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# check COMPILER BUILD_TYPE
check() {
  local build=build/$1-$2
  CXX=$1 cmake -S . -B "$build" -DCMAKE_BUILD_TYPE="$2" -DFUSEDSTEP_EXTENSION=OFF >"$folder/log" || { cat "$folder/log"; exit 1; }
  mapfile -t levels < <(cmake --build "$build" --target help | grep -o 'kernels_[a-z0-9]*' | sort -u)
  [[ $2 == Debug ]] && levels=("${levels[0]}") # where nothing is inlined, all levels export the same
  for level in "${levels[@]}"; do
    cmake --build "$build" --target "$level" --parallel 2 >"$folder/log" || { cat "$folder/log"; exit 1; }
    while read -r object; do
      objects=$((objects + 1))
      exported=$(nm -C --defined-only --extern-only "$object" | cut -d' ' -f2-)
      [[ $exported =~ ^[DR]\ fusedstep::[a-z_]+_"$level"$ ]] && continue
      echo "$1, $2, ${object#"$build"/} exports more than its table:"
      echo "$exported"
      wrong=1
    done < <(find "$build" -path "*/$level.dir/*.o")
  done
}

objects=0 wrong=0
for compiler in ${1:-"${CXX:-g++}" clang++-14}; do
  for type in ${*:2}; do check "$compiler" "$type"; done
  (($# > 1)) || { check "$compiler" Release && check "$compiler" Debug; }
done
echo "$objects objects of kernels looked at"
((objects > 0)) && exit "$wrong"
