#!/usr/bin/env bash
# The wheel in the given folder, built once more elsewhere, has the same bytes. SOURCE_DATE_EPOCH must be what it was.
set -euo pipefail
wheel=$(ls "$1"/fusedstep-*.whl)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
git clone -q . "$folder/a longer name of a folder"
pip wheel -q --no-deps -w "$folder" "$folder/a longer name of a folder"
sha256sum "$wheel" "$folder"/fusedstep-*.whl
cmp "$wheel" "$folder"/fusedstep-*.whl || { echo "two builds of one commit differ"; exit 1; }
