#!/usr/bin/env bash
# Label our own set, frame after frame, from where the repository has come to. Give it again after an
# interruption, on any machine with CP2K, and commit examples/water/data when it ends or in between
# (the last line alone packs what is there).
#   JOBS=2 examples/water/own/label.sh [FOLDER]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-runs/own-set}

python -m examples.water.own.campaign unpack "$folder"
for campaign in "$folder"/round-* "$folder"/test "$folder"/size; do
  [ -d "$campaign" ] || continue
  tpainn-train label "$campaign" --engine "$here/converged.yaml" --jobs "${JOBS:-1}"
done
python -m examples.water.own.campaign pack "$folder"
