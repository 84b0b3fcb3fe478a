#!/usr/bin/env bash
# On an emulated CPU without AVX the wheel imports, steps, and refuses the levels that the CPU lacks; and the objects
# of the kernels export nothing but their table, so that no level's code can take another's place.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python -m zipfile -e "$1"/fusedstep-*.whl "$folder"

if [[ $(uname -m) == x86_64 ]]; then
  cat >"$folder/old_cpu.py" <<'PY'
import numpy as np, fusedstep as fs
from fusedstep import _core
assert fs.isa() == "v2" and _core.available_isas() == ["v2"], _core.available_isas()
for level in ("v3", "v4"):
    try:
        fs.set_isa(level)
    except ValueError as error:
        print(error)
    else:
        raise SystemExit(f"{level} was accepted")
for cls in fs.optim.registry.values():
    p = np.ones(1000, np.float32)
    cls([p], lr=0.1).step([p.copy()])
    assert (p < 1).all()
print("x86-64-v2: all rules step")
PY
  (cd "$folder" && qemu-x86_64 -cpu Nehalem "$(python -c 'import sys; print(sys.executable)')" old_cpu.py)
fi

cmake -S . -B "$folder/build" -DCMAKE_BUILD_TYPE=Release -Dpybind11_DIR="$(python -m pybind11 --cmakedir)" \
  -DPython_EXECUTABLE="$(command -v python)" >"$folder/log" || { cat "$folder/log"; exit 1; }
for target in $(cmake --build "$folder/build" --target help | grep -o 'kernels_[a-z0-9]*' | sort -u); do
  cmake --build "$folder/build" --target "$target" >"$folder/log" || { cat "$folder/log"; exit 1; }
  object=$(find "$folder/build" -path "*$target*" -name 'kernels.cpp.o')
  exported=$(nm -C --defined-only --extern-only "$object" | awk '{print $2, $3}')
  echo "$target exports: $exported"
  [[ $exported =~ ^[DR]\ fusedstep::$target$ ]] || { echo "only its table may leave a kernel object"; exit 1; }
done
