#!/usr/bin/env bash
# Builds the wheel again in another folder, and checks that it has the same bytes as the wheel in the folder $1.
# SOURCE_DATE_EPOCH must have the same value as in the first build.
set -euo pipefail
wheel=$(ls "$1"/fusedstep-*.whl)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
git clone -q . "$folder/a longer name of a folder"
pip wheel -q --no-deps -w "$folder" "$folder/a longer name of a folder"
sha256sum "$wheel" "$folder"/fusedstep-*.whl
cmp "$wheel" "$folder"/fusedstep-*.whl || { echo "two builds of the same commit differ"; exit 1; }
