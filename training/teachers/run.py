"""Label a few frames by every teacher, and compare."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from tpainn_calc.base.errors import DataError
from tpainn_calc.base.frames import checksum
from tpainn_calc.base.records import record_once
from tpainn_calc.base.tables import write_table
from training.data.frames import level_in, read_frames
from training.data.paths import expand_path
from training.labels.breakdowns import LabelError
from training.labels.engines.factory import make_engine
from training.labels.journal import SECONDS, label_frames
from training.run_folder import run_folder
from training.teachers.compare import Comparison, compare
from training.teachers.config import TeachersConfig
from training.teachers.figures import draw

_log = logging.getLogger(__name__)

#: Frames that a teacher must label to be judged.
ENOUGH = 4

#: A teacher that leaves at most this much more to be learnt is as good, if it is cheaper by far.
AS_GOOD, BY_FAR = 1.1, 10.0


def run_teachers(config: TeachersConfig, base: Path, progress: bool = True) -> list[str]:
    """Compare cheap levels of theory; what was labelled before is not labelled again.

    Parameters
    ----------
    config : TeachersConfig
    base : Path
        Folder that relative paths refer to.
    progress : bool

    Returns
    -------
    list of str
        The table and the advice, for the terminal. ``teachers.csv``, ``teachers.png``,
        ``config.yaml`` (with all defaults) and ``log.txt`` are in the folder.

    Raises
    ------
    ConfigError
        If a teacher is not installed, or the folder holds another comparison.
    BusyError
        If another process works in the folder.
    DataError
        If the frames carry no energies, or are fewer than asked for.
    """
    root = expand_path(config.output, base)
    levels = []
    for teacher in config.teachers:
        engine = make_engine(teacher)  # a missing one is said before anything runs
        levels.append(engine.level)
        engine.close()
    frames = _draw_frames(config, base)
    busy = "process {holder} compares these teachers; wait for it to end"
    with run_folder(root, config, partial(_record, config, base, root), busy):
        lines = _compare_all(config, root, levels, frames, progress)
        _log.debug("%s", "\n".join(lines))
        return lines


def _record(config: TeachersConfig, base: Path, root: Path) -> None:
    files = [expand_path(name, base) for name in config.data.files]
    record_once(
        root / "teachers.json",
        {
            **config.data.model_dump(mode="json"),
            "sha256": {path.name: checksum(path) for path in files},
        },
        f"{root} holds a comparison on other frames ({{key}}); choose another output folder",
    )


def _compare_all(
    config: TeachersConfig, root: Path, levels: list[str], frames: list[Atoms], progress: bool
) -> list[str]:
    rows = []
    for level, teacher in zip(levels, config.teachers, strict=True):
        path = root / "labels" / f"{_file_name(level)}.extxyz"
        try:
            labelled = label_frames(path, frames, teacher, config.jobs, progress, config.time_limit)
        except LabelError as error:
            rows.append({"teacher": level, "labelled": 0, "remark": str(error)})
            continue
        rows.append(_row(level, frames, labelled))
    advice = choose(rows)
    for row in rows:
        row["take"] = int(row["teacher"] == advice)
    write_table(root / "teachers.csv", rows)
    draw(rows, root / "teachers.png")
    level = str(frames[0].info.get("level", config.data.level)) or "the reference"
    return [*describe(rows, level), say(rows, advice)]


def _draw_frames(config: TeachersConfig, base: Path) -> list[Atoms]:
    data = config.data
    found = None
    for name in data.files:
        path = expand_path(name, base)
        part, _ = read_frames(path, data.level or level_in(path), forces=False)
        found = part if found is None else found + part
    assert found is not None  # the schema wants a file
    if len(found) < data.frames:
        raise DataError(f"data.frames: {data.frames} are asked for, and there are {len(found)}")
    chosen = np.random.default_rng(data.seed).permutation(len(found))[: data.frames]
    return list(found.select(np.sort(chosen)))


def _file_name(level: str) -> str:
    return "".join(c if c.isalnum() or c in "-+." else "_" for c in level)


def _row(level: str, frames: list[Atoms], labelled: list[Atoms | str]) -> dict[str, Any]:
    pairs = [(f, a) for f, a in zip(frames, labelled, strict=True) if isinstance(a, Atoms)]
    reasons = [reason for reason in labelled if isinstance(reason, str)]
    row: dict[str, Any] = {"teacher": level, "labelled": len(pairs)}
    if len(pairs) >= ENOUGH:
        cheap = [a for _, a in pairs]
        seconds = float(np.median([a.info[SECONDS] for a in cheap]))
        row |= _columns(compare([f for f, _ in pairs], cheap), seconds)
    row["remark"] = reasons[0] if reasons else ""
    return row


def _columns(found: Comparison, seconds: float) -> dict[str, Any]:
    columns: dict[str, Any] = {"score": found.score, "ms_per_label": 1e3 * seconds}
    for name, fit in (
        ("no_teacher", found.alone),
        ("slope_1", found.fixed),
        ("free_slope", found.free),
    ):
        if fit is not None:
            columns[f"energy_{name}_meV_per_atom"] = 1e3 * fit.error
            columns[f"energy_{name}_meV_per_frame"] = 1e3 * fit.error_per_frame
    if found.free is not None:
        columns["energy_slope"] = found.free.slope
    if found.forces:
        columns |= {
            "forces_mae_meV_per_A": 1e3 * found.forces["mae"],
            "forces_correlation": found.forces["correlation"],
            "forces_slope": found.forces["slope"],
            "forces_calibrated_meV_per_A": 1e3 * found.forces["calibrated"],
            "forces_mean_meV_per_A": 1e3 * found.forces["none"],
        }
    if found.stress:
        columns["stress_mae_MPa"] = 1e3 * found.stress["mae"]
        columns["pressure_difference_MPa"] = 1e3 * found.stress["pressure"]
    return columns


def choose(rows: list[dict[str, Any]]) -> str | None:
    """Name of the teacher to take: the one that leaves least to be learnt, or one as good that is
    cheaper by far; None if none beats no teacher at all."""
    judged = [r for r in rows if np.isfinite(r.get("score", np.nan)) and r["score"] < 1]
    if not judged:
        return None
    best = min(judged, key=lambda r: r["score"])
    cheaper = [
        r
        for r in judged
        if r["score"] <= AS_GOOD * best["score"]
        and r["ms_per_label"] * BY_FAR <= best["ms_per_label"]
    ]
    return str(min(cheaper or [best], key=lambda r: r["score"])["teacher"])


def say(rows: list[dict[str, Any]], advice: str | None) -> str:
    """The advice, in a sentence."""
    if advice is None:
        return "take none of them: reference energies alone, without a teacher, are nearer"
    (row,) = [r for r in rows if r["teacher"] == advice]
    line = f"take {advice}: it leaves {100 * row['score']:.0f} % of what is to be learnt"
    slope_1, alone = (row.get(f"energy_{k}_meV_per_atom") for k in ("slope_1", "no_teacher"))
    if slope_1 is not None and alone is not None and slope_1 > alone:
        line += "; its energies say less than reference energies alone, its forces more than none"
    return line


def describe(rows: list[dict[str, Any]], level: str) -> list[str]:
    """The table, for the terminal."""
    columns = (
        ("energy_slope_1_meV_per_atom", "E, slope 1", "{:.1f}"),
        ("energy_free_slope_meV_per_atom", "E, free", "{:.1f}"),
        ("energy_slope", "slope", "{:.3f}"),
        ("forces_mae_meV_per_A", "F", "{:.0f}"),
        ("forces_correlation", "corr.", "{:.3f}"),
        ("forces_calibrated_meV_per_A", "F, cal.", "{:.0f}"),
        ("stress_mae_MPa", "stress", "{:.0f}"),
        ("ms_per_label", "ms", "{:.1f}"),
        ("score", "left", "{:.2f}"),
    )
    width = max(len("no teacher"), *(len(str(row["teacher"])) for row in rows))
    lines = [
        f"against {level}; errors in meV/atom (of frames left out of the fit), meV/Å and MPa",
        " " * width + "".join(f"{title:>11}" for _, title, _ in columns),
    ]
    alone = next((r for r in rows if "energy_no_teacher_meV_per_atom" in r), None)
    if alone is not None:
        forces = alone.get("forces_mean_meV_per_A")
        cells = {"energy_slope_1_meV_per_atom": alone["energy_no_teacher_meV_per_atom"]}
        cells |= {} if forces is None else {"forces_mae_meV_per_A": forces}
        cells["score"] = 1.0
        lines.append(_line("no teacher", width, cells, columns))
    for row in rows:
        line = _line(str(row["teacher"]), width, row, columns)
        remark = f"  {row['labelled']} labels; {row['remark']}" if row["remark"] else ""
        lines.append(line + remark)
    return lines


def _line(name: str, width: int, row: dict[str, Any], columns: Any) -> str:
    cells = (text.format(row[key]) if key in row else "" for key, _, text in columns)
    return name.ljust(width) + "".join(f"{cell:>11}" for cell in cells)
