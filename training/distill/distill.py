"""Sample with the teacher, train the student on it, and look at what the student leaves."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from lammps_plugin.single_point import write_data
from tpainn_calc import TPaiNNCalculator
from tpainn_calc.base.errors import DataError, one_line
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.frames import DISTORTED, attach_results, write_extxyz
from tpainn_calc.base.records import record_once
from tpainn_calc.export import export_model
from tpainn_calc.modelfile import Manifest, find_model, read_manifest
from training.classical.config import ClassicalConfig
from training.classical.contract import Limits
from training.classical.generate import generate
from training.data.frames import read_frames
from training.data.paths import expand_path
from training.data.split import test_frames
from training.distill.config import DistillConfig
from training.distill.remainder import measure_remainder
from training.distill.report import write_report
from training.fit.initial import describe_model
from training.fit.run import fit
from training.run_folder import run_folder

_log = logging.getLogger(__name__)

INPUT = """\
# the teacher, for frames of its own
units        metal
atom_style   atomic
atom_modify  map yes
read_data    ${{data}}
pair_style   tpainn
pair_coeff   * * {model} {elements}
"""


def distill(config: DistillConfig, base: Path, progress: bool = True) -> Path:
    """Make a student of a teacher.

    Run it again after an interruption: what is on disk is not repeated.

    Parameters
    ----------
    config : DistillConfig
    base : Path
        Folder that relative paths refer to.
    progress : bool
        Show bars with the time left.

    Returns
    -------
    Path
        The student's model file. Beside it is the report of the training run; in the folder
        above are ``remainder.png`` with ``remainder.csv``, the spectrum of the forces that it
        leaves to the teacher, ``config.yaml`` (with all defaults) and ``log.txt``.

    Raises
    ------
    ConfigError
        If the folder holds another distillation.
    BusyError
        If another process works in the folder.
    DataError
        If the structures cannot be read.
    """
    output = expand_path(config.output, base)
    teacher = find_model(config.teacher)
    manifest = read_manifest(teacher)
    busy = "process {holder} is distilling here; wait for it"
    with run_folder(output, config, partial(_record, config, output, teacher), busy):
        frames = generate(_frames_config(config, base, output, teacher, manifest), base, progress)
        walls = output / "displaced.extxyz"
        if config.sampling.displaced and not walls.is_file():
            write_walls(walls, frames, config, teacher, manifest)
        model = _train(config, base, output, (frames, walls), manifest, progress)
        kept, _ = read_frames(frames, level=level_of(manifest))
        start = test_frames(model.parent / "split.json", kept)[0]
        remainder = measure_remainder(
            teacher, model, start, config.sampling.temperatures[0], 1e3 * config.remainder
        )
        write_report(remainder, output)
        _log.info("%s", remainder.describe())
    return model


def _record(config: DistillConfig, output: Path, teacher: Path) -> None:
    record_once(
        output / "distill.json",
        {
            "teacher": describe_model(teacher),
            "config": config.model_dump(mode="json", exclude={"output", "device", "teacher"}),
        },
        f"{output} holds a distillation with another {{key}}; choose another output folder",
    )


def level_of(manifest: Manifest) -> str:
    """Level of theory of a teacher's labels."""
    return f"{manifest.level_of_theory or 'unnamed'}, as learnt by {manifest.name}"


def write_walls(
    path: Path, frames: Path, config: DistillConfig, teacher: Path, manifest: Manifest
) -> None:
    """Label copies of every second frame, with some atoms displaced, by the teacher.

    Copies whose atoms came too close, or whose forces are of no use, are left out.
    """
    s, level = config.sampling, level_of(manifest)
    rng = np.random.default_rng((config.seed, 1))
    copies = []
    sampled, _ = read_frames(frames, level=level)
    for atoms in (sampled[k] for k in range(0, len(sampled), 2)):
        moved = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        chosen = rng.random(len(atoms)) < s.displaced
        moved.positions[chosen] += rng.normal(0, s.displacement, (chosen.sum(), 3))
        copies.append(moved)
    wanted = ["energy", "forces", *(["stress"] if all(copies[0].pbc) else [])]
    results = TPaiNNCalculator(teacher, range="off").batch(copies, properties=wanted)
    labelled = [
        attach_results(atoms, **{name: result[name] for name in wanted})
        for atoms, result in zip(copies, results, strict=True)
    ]
    for atoms in labelled:
        atoms.info |= {"level": level, DISTORTED: True}
    write_extxyz(path, [atoms for atoms in labelled if Limits().problem(atoms) is None])


def _frames_config(
    config: DistillConfig, base: Path, output: Path, teacher: Path, manifest: Manifest
) -> ClassicalConfig:
    elements = manifest.hyperparameters["elements"]
    folder = output / "teacher"
    deployed = folder / "teacher.pt"
    if not deployed.is_file():
        export_model(teacher, deployed)
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for index, atoms in enumerate(_structures(expand_path(config.sampling.structures, base))):
        path = folder / f"start{index:03d}.data"
        write_data(path, atoms, elements)
        names.append(str(path))
    text = INPUT.format(model=f'"{deployed}"', elements=" ".join(elements))
    write_atomically(folder / "in.teacher", text)
    source = config.sampling.source(str(folder / "in.teacher"), names, level_of(manifest))
    return ClassicalConfig(output=str(output / "frames"), seed=config.seed, source=source)


def _structures(path: Path) -> list[Atoms]:
    try:
        frames = ase.io.read(path, ":")
    except FileNotFoundError:
        raise DataError(f"sampling.structures: no file {path}") from None
    except Exception as error:  # ASE raises whatever its parsers happen to meet
        raise DataError(f"{path} is no file of structures: {one_line(error)}") from None
    if not frames:
        raise DataError(f"{path} holds no structures")
    return list(frames)


def _train(
    config: DistillConfig,
    base: Path,
    output: Path,
    frames: tuple[Path, Path],
    manifest: Manifest,
    progress: bool,
) -> Path:
    folder = output / "student"
    model = folder / f"{config.model.name}.safetensors"
    if model.is_file():
        return model
    elements = manifest.hyperparameters["elements"]
    # as seen from here: the model file records them, and should not name this machine's folders
    sampled, walls = (os.path.relpath(path, base) for path in frames)
    run = config.run(sampled, walls, str(folder), level_of(manifest), elements)
    return fit(run, base, resume=folder.is_dir(), progress=progress)
