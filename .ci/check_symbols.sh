#!/usr/bin/env bash
# Checks that every object file that is compiled for an instruction set exports only one table of kernels. Otherwise the
# linker could replace a function by the same function of another instruction set. The check is made with gcc and clang,
# with optimisation and without. Without optimisation, no function is inlined.
# Arguments: a compiler ("" means gcc and clang), then build types (default: Release and Debug).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# check COMPILER BUILD_TYPE
check() {
  local build=build/$1-$2
  CXX=$1 cmake -S . -B "$build" -DCMAKE_BUILD_TYPE="$2" -DFUSEDSTEP_EXTENSION=OFF >"$folder/log" || { cat "$folder/log"; exit 1; }
  mapfile -t levels < <(cmake --build "$build" --target help | grep -o 'kernels_[a-z0-9]*' | sort -u)
  [[ $2 == Debug ]] && levels=("${levels[0]}") # without inlining, all instruction sets export the same functions
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
echo "$objects object files with kernels were checked"
((objects > 0)) && exit "$wrong"
