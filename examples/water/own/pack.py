"""Pack the two campaigns of ``run.sh`` into the labelled set that is shipped.

``python -m examples.water.own.pack [FOLDER]`` writes ``examples/water/data/``.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path

import ase.io
from ase import Atoms

from tpainn_calc.base.files import write_atomically

DATA = Path(__file__).parents[1] / "data"
FRAMES = DATA / "water-revpbe-d3.extxyz.gz"
ARMS = ("random", "picked")
KEPT = ("arm", "order", "state_point", "temperature", "level", "frame_hash", "label_net_force")


def arm_of(folder: Path, arm: str) -> list[Atoms]:
    """Labelled frames of a campaign in the order of its picks."""
    frames = ase.io.read(folder / arm / "labelled.extxyz", ":")
    for atoms in frames:
        atoms.info["arm"] = arm
        atoms.info = {key: atoms.info[key] for key in KEPT}
    return sorted(frames, key=lambda atoms: int(atoms.info["order"]))


def main() -> None:
    """Write the frames and the input that labelled them."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own")
    frames = [atoms for arm in ARMS for atoms in arm_of(folder, arm)]
    text = io.StringIO()
    ase.io.write(text, frames, format="extxyz")
    # no time stamp: the same labels give the same file
    write_atomically(FRAMES, gzip.compress(text.getvalue().encode(), mtime=0))
    engine = json.loads((folder / ARMS[0] / "labels" / "engine.json").read_text())
    write_atomically(DATA / "engine.json", json.dumps(engine, indent=1).encode())
    print(f"{len(frames)} frames, {FRAMES.stat().st_size / 1e6:.2f} MB: {FRAMES}")


if __name__ == "__main__":
    main()
