#!/usr/bin/env bash
# Tests the wheel on an emulated CPU without AVX. The package must import and step, and it must refuse to use
# instruction sets that the CPU does not have.
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
print("x86-64-v2: all update rules work")
PY
  (cd "$folder" && qemu-x86_64 -cpu Nehalem "$(python -c 'import sys; print(sys.executable)')" old_cpu.py)
fi
