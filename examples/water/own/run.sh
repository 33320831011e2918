#!/usr/bin/env bash
# Make our own labelled set: 40 frames at random (test set and random arm), 80 by ATBagging.
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
[ -f random/manifest.json ] || seedselect pick pool.extxyz -n 40 --sampler random --seed 1 -o random
[ -f picked/manifest.json ] || seedselect pick pool.extxyz -n 80 --seed 0 -o picked
for campaign in random picked; do
  tpainn-train label "$campaign" --engine "$here/engine.yaml" --jobs "${JOBS:-1}"
done
