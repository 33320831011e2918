#!/usr/bin/env bash
# Make our own labelled set: 64 frames at random (32 are the test set, 32 the random arm), 64 others
# by ATBagging. All are fixed before the first label. The first N of an arm are a balanced subset:
# `order` in every frame, and in manifest.json.
# One command, for days if need be: give it again after an interruption, and it goes on.
#   JOBS=2 examples/water/own/run.sh [FOLDER]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:-runs/own}"
cd "${1:-runs/own}"

tpainn-train classical "$here/pool.yaml"
if [ ! -f pool.extxyz ]; then
  cat pool/*.extxyz > pool.part
  mv pool.part pool.extxyz
fi
[ -f random/manifest.json ] || seedselect pick pool.extxyz -n 64 --sampler random --seed 1 -o random
if [ ! -f rest.extxyz ]; then # no frame twice, and none of the test set among the picked ones
  python - << 'END'
import json
import os

import ase.io

with open("random/manifest.json") as stream:
    taken = {entry["pool_row"] for entry in json.load(stream)["entries"]}
frames = ase.io.read("pool.extxyz", ":")
rest = [atoms for row, atoms in enumerate(frames) if row not in taken]
ase.io.write("rest.part", rest, format="extxyz")
os.replace("rest.part", "rest.extxyz")
END
fi
[ -f picked/manifest.json ] || seedselect pick rest.extxyz -n 64 --seed 0 -o picked
for campaign in random picked; do
  tpainn-train label "$campaign" --engine "$here/engine.yaml" --jobs "${JOBS:-1}"
done
