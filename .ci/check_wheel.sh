#!/usr/bin/env bash
# Checks the wheel in the folder $1. It must have less than 3 MB and contain only our own library. The package must
# import and step with several threads if libgomp is not available.
set -euo pipefail
wheel=$(ls "$1"/fusedstep-*.whl)
size=$(stat -c %s "$wheel")
echo "$(basename "$wheel"): $size bytes"
((size < 3000000)) || { echo "the wheel must have less than 3 MB"; exit 1; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python -m zipfile -e "$wheel" "$folder"
libraries=$(cd "$folder" && find . -name '*.so*')
[[ $(wc -l <<<"$libraries") == 1 && $libraries == ./fusedstep/_core.* ]] || { echo "unexpected libraries: $libraries"; exit 1; }
for part in licenses/LICENSE sboms/fusedstep.cdx.json; do
  [[ -s $(ls "$folder"/fusedstep-*.dist-info/"$part") ]] || { echo "the wheel must contain $part"; exit 1; }
done
if readelf -d "$folder"/fusedstep/_core.* | grep -E 'NEEDED.*(gomp|libomp)'; then echo "the core must not be linked to an OpenMP library"; exit 1; fi

# If the machine allows a mount namespace, libgomp is hidden from the loader.
cat >"$folder/step.py" <<'PY'
import numpy as np, fusedstep as fs
from fusedstep import _core
_core.force_threads(2)
p, g = np.zeros(1 << 20, np.float32), np.ones(1 << 20, np.float32)

tasks = lambda: len(__import__("os").listdir("/proc/self/task"))
n = tasks()
fs.SGD([p], lr=1.0).step([g])
assert (p == -1).all()
print("backend", _core.backend(), "threads started by the step:", tasks() - n)
assert tasks() - n == 1
PY
mapfile -t gomps < <(ldconfig -p | awk '/libgomp\.so\.1/ {print $NF}')
hide='for f in "$@"; do mount --bind /dev/null "$(readlink -f "$f")"; done; exec python step.py'
if ((${#gomps[@]} == 0)); then
  (cd "$folder" && python step.py)
elif unshare -m true 2>/dev/null; then
  (cd "$folder" && unshare -m bash -c "$hide" hide "${gomps[@]}") | tee "$folder/out"
  grep -q 'backend threads' "$folder/out"
else
  echo "this machine does not allow a mount namespace; the thread pool is tested only with FUSEDSTEP_BACKEND=threads"
  (cd "$folder" && FUSEDSTEP_BACKEND=threads python step.py)
fi
