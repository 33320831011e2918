"""The files that a campaign hands to those who compute labels."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np

from seedselect.campaign.dataset import Dataset, frames_at
from seedselect.campaign.manifest import Entry
from seedselect.errors import SeedSelectError
from tpainn_calc.base.files import write_atomically


def write_selected(directory: Path, number: int, entries: list[Entry], pool: Dataset) -> None:
    """Write the rows of a round, in labelling order, atomically.

    Frames go to ``selected.extxyz`` (the latest round) and ``rounds/round_NNN.extxyz``, without
    the labels of the source; tables to ``selected.csv`` and ``rounds/round_NNN.csv``.
    """
    rounds = directory / "rounds"
    rounds.mkdir(exist_ok=True)
    if pool.kind == "frames":
        from seedselect.frames.atoms import write_frames

        found = frames_at(pool.files, [entry.pool_row for entry in entries])
        frames = []
        for entry in entries:
            frame = found[entry.pool_row]
            if frame.key != entry.key:
                raise SeedSelectError(f"{pool.files}: row {entry.pool_row} changed while reading")
            info = {
                "frame_hash": entry.key,
                "order": entry.order,
                "round": entry.round,
                "pool_row": entry.pool_row,
                "weight": entry.weight,
            }
            kept = {k: v for k, v in frame.info.items() if k not in ("energy", "stress", "virial")}
            frames.append(replace(frame, energy=None, forces=None, info={**kept, **info}))
        for path in (rounds / f"round_{number:03d}.extxyz", directory / "selected.extxyz"):
            write_frames(path, frames)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row_hash", "pool_row", "order", "round", "weight", *pool.columns])
    values = pool.pool.take(np.array([entry.pool_row for entry in entries]))
    for entry, row in zip(entries, values, strict=True):
        writer.writerow(
            [entry.key, entry.pool_row, entry.order, entry.round, entry.weight, *row.tolist()]
        )
    for path in (rounds / f"round_{number:03d}.csv", directory / "selected.csv"):
        write_atomically(path, text.getvalue())
