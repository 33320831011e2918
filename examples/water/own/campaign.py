"""The campaign that labels our set: from what the repository holds, and back.

``python -m examples.water.own.campaign unpack [FOLDER]`` makes a campaign of every round's frames
(``round-K.extxyz.gz`` beside this file, in the order in which they are labelled) and puts the
labels there that the repository holds; ``... pack [FOLDER]`` takes all labels of the campaigns
into ``examples/water/data``. In between comes ``tpainn-train label FOLDER/round-K --engine
converged.yaml``. ``label.sh`` does the three, and may be killed and given again at any time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ase import Atoms

from examples.water.own.pack import DATA
from seedselect.campaign import Campaign, PickSettings, begin
from tpainn_calc.base.command import command_parser, run_command
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.frames import read_extxyz, write_extxyz

HERE = Path(__file__).parent
LABELLED = DATA / "water-revpbe-d3-converged.extxyz.gz"
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
)


def rounds() -> Iterator[tuple[int, Path]]:
    """Number and frames of every round."""
    for path in sorted(HERE.glob("round-*.extxyz.gz")):
        yield int(path.name.removeprefix("round-").removesuffix(".extxyz.gz")), path


def unpack(folder: Path) -> None:
    """Make the campaigns that are not there, and give them the labels that the repository holds."""
    labelled = read_extxyz(LABELLED) if LABELLED.is_file() else []
    for number, frames in rounds():
        campaign = folder / f"round-{number}"
        if not (campaign / "manifest.json").is_file():
            settings = PickSettings(
                n=len(read_extxyz(frames)),
                sampler="random",  # their order: the first are as good a sample as any
                quality="diversity",
                dedup=0.0,
                seed=number,
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
    """Take all labels into the repository's set, round by round in the order of labelling."""
    packed: list[Atoms] = []
    for number, _ in rounds():
        campaign = folder / f"round-{number}"
        order = {entry.key: entry.order for entry in Campaign.open(campaign).entries}
        found = [
            read_extxyz(path)[0]
            for key in order
            if (path := campaign / "labels" / f"{key}.extxyz").is_file()
        ]
        for atoms in found:
            atoms.info |= {"round": number, "order": order[atoms.info["frame_hash"]]}
            atoms.info = {key: atoms.info[key] for key in KEPT if key in atoms.info}
        packed += sorted(found, key=lambda atoms: int(atoms.info["order"]))
        if found:
            engine = json.loads((campaign / "labels" / "engine.json").read_text())
            write_atomically(ENGINE, json.dumps(engine, indent=1) + "\n")
    if packed:
        write_extxyz(LABELLED, packed)
        print(f"{len(packed)} frames, {LABELLED.stat().st_size / 1e6:.2f} MB: {LABELLED}")


def main() -> int:
    """Entry point."""
    parser = command_parser("campaign", __doc__)
    parser.add_argument("what", choices=("unpack", "pack"))
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/own-set"))
    arguments = parser.parse_args()
    return run_command(lambda: {"unpack": unpack, "pack": pack}[arguments.what](arguments.folder))


if __name__ == "__main__":
    raise SystemExit(main())
