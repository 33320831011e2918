"""The campaign that labels our set: from what the repository holds, and back.

``python -m examples.water.own.campaign unpack [FOLDER]`` makes a campaign of every round's frames,
of the test block's and of the size check's (``round-K.extxyz.gz``, ``test.extxyz.gz`` and
``size.extxyz.gz`` beside this file, in the order in which they are labelled) and puts the labels
there that the repository holds; ``... pack [FOLDER]`` takes all labels of the campaigns into three
files of ``examples/water/data``: that of the rounds, and those of the test block and of the size
check, which are never trained on. In between comes ``tpainn-train label FOLDER/round-K --engine
converged.yaml``. ``label.sh`` does the three, and may be killed and given again at any time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from examples.water.own.pack import DATA
from seedselect.campaign import Campaign, PickSettings, begin
from tpainn_calc.base.command import command_parser, run_command
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.frames import DISTORTED, read_extxyz, write_extxyz

HERE = Path(__file__).parent
LABELLED = DATA / "water-revpbe-d3-converged.extxyz.gz"
TEST_BLOCK = DATA / "water-revpbe-d3-converged-test.extxyz.gz"
SIZE_CHECK = DATA / "water-revpbe-d3-converged-size.extxyz.gz"
#: Numbers among the rounds of what is never trained on.
TEST, SIZE = -1, -2
HELD_OUT = {"test": TEST, "size": SIZE}
ENGINE = DATA / "engine-converged.json"
KEPT = (
    "round",
    "order",
    "group",
    "state_point",
    "temperature",
    "pressure",
    "level",
    "frame_hash",
    "label_net_force",
    DISTORTED,
)
#: Å: longer bonds of oxygen and hydrogen are broken.
BROKEN_BOND = 1.3


def rounds() -> Iterator[tuple[int, Path]]:
    """Number and frames of the test block, of the size check, and of every round."""
    for name, number in HELD_OUT.items():
        path = HERE / f"{name}.extxyz.gz"
        if path.is_file():
            yield number, path
    for path in sorted(HERE.glob("round-*.extxyz.gz")):
        yield int(name_of(path).removeprefix("round-")), path


def packed_file(number: int) -> Path:
    """Return where the labels of a round, or of what is never trained on, are kept."""
    return {TEST: TEST_BLOCK, SIZE: SIZE_CHECK}.get(number, LABELLED)


def name_of(path: Path) -> str:
    """Name of a file of frames, and of its campaign."""
    return path.name.removesuffix(".extxyz.gz")


def labelled_frames() -> list[Atoms]:
    """All labels that the repository holds."""
    files = (LABELLED, TEST_BLOCK, SIZE_CHECK)
    return [atoms for path in files if path.is_file() for atoms in read_extxyz(path)]


def unpack(folder: Path) -> None:
    """Make the campaigns that are not there, and give them the labels that the repository holds."""
    labelled = labelled_frames()
    for number, frames in rounds():
        campaign = folder / name_of(frames)
        if not (campaign / "manifest.json").is_file():
            settings = PickSettings(
                n=len(read_extxyz(frames)),
                sampler="random",  # their order: the first are as good a sample as any
                quality="diversity",
                dedup=0.0,
                seed=max(0, number),
            )
            begin(campaign, frames, settings)
        labels = campaign / "labels"
        mine = [atoms for atoms in labelled if atoms.info["round"] == number]
        if mine and not (labels / "engine.json").is_file():
            labels.mkdir(exist_ok=True)
            write_atomically(labels / "engine.json", ENGINE.read_bytes())
        for atoms in mine:
            path = labels / f"{atoms.info['frame_hash']}.extxyz"
            if not path.is_file():
                write_extxyz(path, [atoms])
        state = Campaign.open(campaign)
        there = {path.stem for path in labels.glob("*.extxyz")}
        done = sum(entry.key in there for entry in state.entries)
        print(f"{campaign}: {done} of {len(state.entries)} frames are labelled")


def pack(folder: Path) -> None:
    """Take all labels into the repository's sets, round by round in the order of labelling."""
    packed: dict[Path, list[Atoms]] = {}
    for number, frames in rounds():
        campaign = folder / name_of(frames)
        found = _labelled(campaign, number)
        packed.setdefault(packed_file(number), []).extend(found)
        if found:
            engine = json.loads((campaign / "labels" / "engine.json").read_text())
            write_atomically(ENGINE, json.dumps(engine, indent=1) + "\n")
    for path, atoms in packed.items():
        if atoms:
            write_extxyz(path, atoms)
            print(f"{len(atoms)} frames, {path.stat().st_size / 1e6:.2f} MB: {path}")


def _labelled(campaign: Path, number: int) -> list[Atoms]:
    """Labels of a campaign, in the order of labelling."""
    found = []
    for entry in sorted(Campaign.open(campaign).entries, key=lambda entry: entry.order):
        path = campaign / "labels" / f"{entry.key}.extxyz"
        if path.is_file():
            (atoms,) = read_extxyz(path)
            atoms.info |= {"round": number, "order": entry.order}
            if broken_molecules(atoms):  # an early model's doing: learnt from, and no usual water
                atoms.info[DISTORTED] = True
            atoms.info = {key: atoms.info[key] for key in KEPT if key in atoms.info}
            found.append(atoms)
    return found


def broken_molecules(atoms: Atoms) -> int:
    """Oxygen atoms that have not two hydrogen atoms."""
    bonded = neighbor_list("i", atoms, {("O", "H"): BROKEN_BOND})
    hydrogens = np.bincount(bonded, minlength=len(atoms))[atoms.numbers == 8]
    return int((hydrogens != 2).sum())


def main() -> int:
    """Entry point."""
    parser = command_parser("campaign", __doc__)
    parser.add_argument("what", choices=("unpack", "pack"))
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/own-set"))
    arguments = parser.parse_args()
    return run_command(lambda: {"unpack": unpack, "pack": pack}[arguments.what](arguments.folder))


if __name__ == "__main__":
    raise SystemExit(main())
