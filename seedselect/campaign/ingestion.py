"""Labels that come back to a campaign: partially, in any order, any number of times."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seedselect.errors import SeedSelectError
from seedselect.frames.frame import Frame
from seedselect.frames.targets import frame_targets, raw_targets
from tpainn_calc.base.arrays import Array
from tpainn_calc.base.files import write_atomically

if TYPE_CHECKING:
    from ase import Atoms


#: Codes print positions with few digits; a frame within this distance is the same one, Angstrom.
MATCH_TOLERANCE = 2e-3

#: Relative difference from which on two labels of one frame contradict each other.
CONFLICT = 1e-6


@dataclass
class Labels:
    """All labels of a campaign.

    Attributes
    ----------
    frames : dict key -> Frame
        For campaigns of frames.
    rows : dict key -> dict column -> value
        For campaigns of tables.
    columns : list of str
        Target columns of a table.
    """

    frames: dict[str, Frame] = field(default_factory=dict)
    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)

    def keys(self) -> set[str]:
        """Return the keys that have a label."""
        return set(self.frames) | set(self.rows)

    def targets(self, keys: Sequence[str]) -> tuple[Array, list[str]]:
        """Return labels in the form of the source's targets, (n, K), and their names."""
        if self.rows:
            rows = [[self.rows[key][c] for c in self.columns] for key in keys]
            return np.array(rows), self.columns
        frames = [self.frames[key] for key in keys]
        raw = np.array([raw_targets(frame) for frame in frames])
        composition = np.array([np.bincount(f.numbers, minlength=119) for f in frames])
        targets, names = frame_targets(raw, composition.astype(float))
        if targets is None:
            raise SeedSelectError("the labels hold neither energies nor forces")
        whole = np.flatnonzero(np.isfinite(targets).all(axis=0))
        return targets[:, whole], [names[k] for k in whole]


def read_labels(directory: Path, kind: str) -> Labels:
    """Return the labels that a campaign holds."""
    if kind == "frames":
        path = directory / "labels.extxyz"
        if not path.is_file():
            return Labels()
        from seedselect.frames.atoms import iter_frames

        return Labels(frames={str(f.info["frame_hash"]): f for f in iter_frames(path)})
    path = directory / "labels.csv"
    if not path.is_file():
        return Labels()
    rows, columns = _read_csv(path)
    return Labels(rows=rows, columns=columns)


def _read_csv(path: Path) -> tuple[dict[str, dict[str, float]], list[str]]:
    try:
        records = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError) as error:
        raise SeedSelectError(f"{path}: cannot be read ({error})") from error
    if not records or "row_hash" not in records[0]:
        raise SeedSelectError(f"{path}: needs a column 'row_hash' (copied from selected.csv)")
    known = {"row_hash", "pool_row", "order", "round", "weight"}
    columns = [c for c in records[0] if c and c not in known]
    rows: dict[str, dict[str, float]] = {}
    for number, record in enumerate(records):
        values = {}
        for column in columns:
            word = (record[column] or "").strip()
            try:
                values[column] = float(word) if word else float("nan")
            except ValueError as error:
                raise SeedSelectError(
                    f"{path}, line {number + 2}, column {column!r}: {word!r} is not a number"
                ) from error
        rows[record["row_hash"].strip()] = values
    return rows, columns


def ingest_frames(
    directory: Path,
    paths: Iterable[Path],
    chosen: dict[str, Frame],
    replace_labels: bool,
    labelled: Iterable[Atoms] = (),
) -> tuple[int, int]:
    """Add labelled frames; return how many are new and how many were known.

    A frame is recognised by ``frame_hash`` in its comment line, else by its geometry.

    Parameters
    ----------
    directory : path
    paths : paths of extended-XYZ files
    chosen : dict key -> Frame
        All chosen frames of the campaign.
    replace_labels : bool
        Let a new label replace one that contradicts it.
    labelled : iterable of ase.Atoms
        Labelled frames that come from no file.

    Raises
    ------
    SeedSelectError
        Unknown frame, geometry that moved, missing or non-finite label, contradiction. Nothing is
        written then.
    """
    from seedselect.frames.atoms import iter_frames, to_frame, write_frames

    def named() -> Iterator[tuple[str, Frame]]:
        for path in paths:
            for number, frame in enumerate(iter_frames(path)):
                yield f"{path}, frame {number}", frame
        for number, atoms in enumerate(labelled):
            yield f"labelled frame {number}", to_frame(atoms)

    labels = read_labels(directory, "frames").frames
    new = known = 0
    for where, frame in named():
        key = _recognise(frame, chosen, where)
        _check_label(frame, where)
        # The pool's geometry and the new label: digits lost by a code are not taken over.
        clean = replace(
            chosen[key], energy=frame.energy, forces=frame.forces, info={"frame_hash": key}
        )
        if key in labels:
            known += 1
            if _contradicts(labels[key], clean) and not replace_labels:
                raise SeedSelectError(
                    f"{where}: {key} already has another label ({labels[key].energy} eV, now "
                    f"{clean.energy} eV): use --replace to overwrite it"
                )
        else:
            new += 1
        labels[key] = clean
    if new or known:
        write_frames(directory / "labels.extxyz", labels.values())
    return new, known


def _recognise(frame: Frame, chosen: dict[str, Frame], where: str) -> str:
    named = str(frame.info.get("frame_hash", ""))
    if named:
        if named not in chosen:
            raise SeedSelectError(f"{where}: frame_hash {named} was not chosen in this campaign")
        if not _same_geometry(frame, chosen[named]):
            raise SeedSelectError(f"{where}: {_difference(frame, chosen[named], named)}")
        return named
    for key, candidate in chosen.items():
        if _same_geometry(frame, candidate):
            return key
    raise SeedSelectError(f"{where}: no chosen frame has this geometry")


def _difference(frame: Frame, chosen: Frame, key: str) -> str:
    """Name the fault of a frame that should have the geometry of a chosen one."""
    if len(frame) != len(chosen):
        return f"{len(frame)} atoms, but {key} has {len(chosen)}: label whole frames"
    if sorted(frame.numbers) != sorted(chosen.numbers):
        return f"other elements than {key} has: label the frame that was chosen"
    nearest = [
        _distances(x - chosen.positions[chosen.numbers == z], chosen).min()
        for x, z in zip(frame.positions, frame.numbers, strict=True)
    ]
    if max(nearest) < MATCH_TOLERANCE:
        return f"the atoms of {key} are in another order: keep that of the frame that was chosen"
    return f"the atoms of {key} have moved: label the geometry that was chosen (no relaxation)"


def _same_geometry(a: Frame, b: Frame) -> bool:
    if len(a) != len(b) or (a.numbers != b.numbers).any():
        return False
    return float(_distances(a.positions - b.positions, b).max()) < MATCH_TOLERANCE


def _distances(difference: Array, b: Frame) -> Array:
    """Largest component of each of some vectors (n, 3), to the nearest image in the cell of `b`."""
    if b.pbc.any() and abs(np.linalg.det(b.cell)) > 1e-9:
        fractional = difference @ np.linalg.inv(b.cell)
        fractional -= np.round(fractional) * b.pbc
        difference = fractional @ b.cell
    found: Array = np.abs(difference).max(axis=1)
    return found


def _check_label(frame: Frame, where: str) -> None:
    if frame.energy is None and frame.forces is None:
        raise SeedSelectError(f"{where}: carries neither energy nor forces")
    energy = 0.0 if frame.energy is None else frame.energy
    if not np.isfinite(energy) or (
        frame.forces is not None and not np.isfinite(frame.forces).all()
    ):
        raise SeedSelectError(f"{where}: its label is not finite: leave failed frames out")


def _contradicts(old: Frame, new: Frame) -> bool:
    if (old.energy is None) != (new.energy is None) or (old.forces is None) != (new.forces is None):
        return True
    if old.energy is not None and new.energy is not None:
        return abs(old.energy - new.energy) > CONFLICT * max(1.0, abs(old.energy))
    return False


def ingest_rows(
    directory: Path,
    paths: Iterable[Path],
    chosen: set[str],
    columns: Sequence[str],
    replace_labels: bool,
) -> tuple[int, int]:
    """Add labelled table rows, recognised by the column ``row_hash``; empty labels are skipped."""
    labels = read_labels(directory, "table")
    new = known = 0
    for path in paths:
        rows, found = _read_csv(path)
        missing = [c for c in columns if c not in found]
        if missing:
            raise SeedSelectError(f"{path}: no target column {missing[0]!r}; it holds {found}")
        for key, row in rows.items():
            values = {c: row[c] for c in columns}
            if key not in chosen:
                raise SeedSelectError(f"{path}: row_hash {key} was not chosen in this campaign")
            if np.isnan(list(values.values())).all():
                continue
            if not np.isfinite(list(values.values())).all():
                raise SeedSelectError(f"{path}: {key} has a label that is not finite")
            old = labels.rows.get(key)
            if old is not None:
                known += 1
                if (
                    not np.allclose(list(old.values()), list(values.values()))
                    and not replace_labels
                ):
                    raise SeedSelectError(
                        f"{path}: {key} already has another label: use --replace to overwrite it"
                    )
            else:
                new += 1
            labels.rows[key] = values
    if new or known:
        lines = [",".join(["row_hash", *columns])]
        lines += [
            ",".join([key, *(repr(row[c]) for c in columns)]) for key, row in labels.rows.items()
        ]
        write_atomically(directory / "labels.csv", "\n".join(lines) + "\n")
    return new, known
