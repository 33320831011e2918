"""``tpainn-train``: train, and evaluate, potentials."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tpainn_calc.base.command import command_parser, run_command
from training.commands.init import KINDS, init


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``tpainn-train``."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return run_command(lambda: arguments.run(arguments), arguments.debug)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("tpainn-train", __doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    for name, text in (
        ("scratch", "train a potential from scratch"),
        ("pretrain", "train a potential on classical frames"),
        ("autotune", "tune a pretrained potential on DFT frames"),
    ):
        run = commands.add_parser(name, help=text)
        run.add_argument("config", type=Path, help="YAML file, see docs/training.md")
        run.add_argument("--resume", action="store_true", help="continue an interrupted run")
        run.add_argument("--quiet", action="store_true", help="no progress bar")
        if name == "autotune":
            run.add_argument("--from", dest="model", help="pretrained model (or 'tune: start')")
        run.set_defaults(run=_train, method=name)

    for name, text, page, function in (
        ("classical", "make frames with a classical force field", "docs/training.md", _classical),
        ("curve", "learning curves of scratch and T-PaiNN", "docs/training.md", _curve),
        ("distill", "make a small, fast student of a potential", "docs/mts.md", _distill),
        ("teachers", "which cheap level to pretrain on", "docs/labels.md", _teachers),
        ("loop", "pick, label, tune, sample, and pick again", "docs/loop.md", _loop),
    ):
        study = commands.add_parser(name, help=text)
        study.add_argument("config", type=Path, help=f"YAML file, see {page}")
        quiet = "say nothing but the result" if name == "loop" else "no progress bar"
        study.add_argument("--quiet", action="store_true", help=quiet)
        study.set_defaults(run=function)

    label = commands.add_parser("label", help="label the open frames of a seedselect campaign")
    label.add_argument("campaign", type=Path, help="folder of the campaign, see docs/labels.md")
    label.add_argument(
        "--engine", required=True, help="cp2k, cp2k-nnp, pyscf, tblite, or a YAML file"
    )
    label.add_argument("--jobs", type=int, default=1, help="processes of this machine")
    label.add_argument("--dask", metavar="ADDRESS", help="scheduler whose workers do it instead")
    label.add_argument("--share", metavar="K/N", help="frames K, K + N, ... only, from 0")
    label.add_argument(
        "--time-limit", type=float, metavar="S", help="a frame fails after S seconds"
    )
    label.add_argument("--retry-failed", action="store_true", help="try failed frames again")
    label.add_argument("--quiet", action="store_true", help="no progress bar")
    label.set_defaults(run=_label)

    start = commands.add_parser("init", help="write a commented configuration to begin with")
    start.add_argument("kind", choices=list(KINDS))
    start.add_argument("-o", "--output", type=Path, help="file; KIND.yaml by default")
    start.set_defaults(run=_init)

    keys = commands.add_parser("keys", help="print the reference of all keys (Markdown)")
    keys.set_defaults(run=_keys)

    verify = commands.add_parser("verify", help="a model against its own level, on its own run")
    verify.add_argument("model", help="model file or name of a shipped potential")
    verify.add_argument("trajectory", type=Path, help="of a run with it")
    verify.add_argument("--engine", required=True, help="of its level: a name, or a YAML file")
    verify.add_argument("--frames", type=int, default=20, help="so many are labelled (default 20)")
    verify.add_argument("--skip", type=float, default=0.1, help="part left out at the beginning")
    verify.add_argument("--elements", nargs="+", default=[], help="of the types of a LAMMPS dump")
    verify.add_argument("--topology", type=Path, help="for formats that hold coordinates only")
    verify.add_argument("--temperature", type=float, default=300.0, metavar="K", help="of the run")
    verify.add_argument("--compressibility", type=float, metavar="1/GPa", help="not the run's")
    verify.add_argument("--jobs", type=int, default=1, help="processes of this machine")
    verify.add_argument("--time-limit", type=float, metavar="S", help="seconds per label")
    verify.add_argument("-o", "--output", type=Path, default=Path("verify"), help="folder")
    verify.add_argument("--quiet", action="store_true", help="no progress bar")
    verify.set_defaults(run=_verify)

    split = commands.add_parser("split", help="list the held-out molecules or frames")
    split.add_argument("config", type=Path, help="YAML file of a run or a curve")
    split.add_argument("--key", default="index", help="info key that names a frame (molecule)")
    split.set_defaults(run=_split)

    evaluation = commands.add_parser("evaluate", help="errors of a model on labelled frames")
    evaluation.add_argument("model", help="model file or name of a shipped potential")
    evaluation.add_argument("data", type=Path, help="extended XYZ with energy and forces")
    evaluation.add_argument("-o", "--output", type=Path, help="folder for the report and figure")
    evaluation.add_argument("--split", type=Path, help="split.json of a run: its test frames only")
    evaluation.add_argument("--level", help="level of theory of the data, if not that of the model")
    for quantity in ("energy", "forces", "stress"):
        evaluation.add_argument(
            f"--{quantity}-key",
            default=quantity,
            metavar="KEY",
            help=f"name of the {quantity} in the data",
        )
    evaluation.set_defaults(run=_evaluate)
    return parser


def _train(arguments: argparse.Namespace) -> int:
    from tpainn_calc.base.schema import load_config
    from training.fit.config import AutotuneConfig, FitConfig, PretrainConfig, TrainingConfig

    schemas: tuple[type[FitConfig], ...] = (TrainingConfig, PretrainConfig, AutotuneConfig)
    schema = next(schema for schema in schemas if schema.method == arguments.method)
    config = load_config(arguments.config, schema)
    if isinstance(config, AutotuneConfig) and arguments.model is not None:
        config = config.starting_from(arguments.model)
    # torch and lightning are loaded when the configuration is known to be right
    from training.fit.run import fit

    try:
        print(fit(config, Path.cwd(), resume=arguments.resume, progress=not arguments.quiet))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_how_to_go_on(config.output)) from None
    return 0


@contextmanager
def _going_on(text: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(text) from None


def _how_to_go_on(output: str) -> str:
    from training.data.paths import expand_path
    from training.fit.checkpoint import LAST_CHECKPOINT

    if (expand_path(output, Path.cwd()) / LAST_CHECKPOINT).is_file():
        return "interrupted; the same command with --resume goes on from the last checkpoint"
    return "interrupted before the first checkpoint; start the same command again"


def _classical(arguments: argparse.Namespace) -> int:
    from tpainn_calc.base.schema import load_config
    from training.classical.config import ClassicalConfig

    config = load_config(arguments.config, ClassicalConfig)
    from training.classical.generate import generate

    with _going_on("interrupted; the same command makes what is left"):
        print(generate(config, Path.cwd(), progress=not arguments.quiet))
    return 0


def _curve(arguments: argparse.Namespace) -> int:
    from tpainn_calc.base.schema import load_config
    from training.study.config import CurveConfig

    config = load_config(arguments.config, CurveConfig)
    from training.study.curve import run_curve

    with _going_on("interrupted; the same command runs what is left"):
        print(run_curve(config, Path.cwd(), progress=not arguments.quiet))
    return 0


def _distill(arguments: argparse.Namespace) -> int:
    from tpainn_calc.base.schema import load_config
    from training.distill.config import DistillConfig

    config = load_config(arguments.config, DistillConfig)
    from training.distill.distill import distill

    print(distill(config, Path.cwd(), progress=not arguments.quiet))
    return 0


def _loop(arguments: argparse.Namespace) -> int:
    from training.loop.command import loop

    return loop(arguments.config, progress=not arguments.quiet)


def _label(arguments: argparse.Namespace) -> int:
    from training.labels.command import label

    print(label(arguments).describe())
    return 0


def _init(arguments: argparse.Namespace) -> int:
    print(init(arguments.kind, arguments.output))
    return 0


def _keys(arguments: argparse.Namespace) -> int:
    from training.commands.keys import reference

    print(reference(), end="")
    return 0


def _teachers(arguments: argparse.Namespace) -> int:
    from tpainn_calc.base.schema import load_config
    from training.teachers.config import TeachersConfig

    config = load_config(arguments.config, TeachersConfig)
    from training.teachers.run import run_teachers

    print("\n".join(run_teachers(config, Path.cwd(), progress=not arguments.quiet)))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from training.labels.engines.config import load_engine
    from training.verify.run import Settings, verify

    logging.getLogger("MDAnalysis").setLevel(logging.WARNING)  # it tells what it guesses
    settings = Settings(
        arguments.model,
        arguments.trajectory,
        load_engine(arguments.engine),
        frames=arguments.frames,
        skip=arguments.skip,
        elements=tuple(arguments.elements),
        topology=arguments.topology,
        temperature=arguments.temperature,
        compressibility=arguments.compressibility,
        jobs=arguments.jobs,
        time_limit=arguments.time_limit,
    )
    print("\n".join(verify(settings, arguments.output, progress=not arguments.quiet)))
    print(arguments.output / "verify.png")
    return 0


def _split(arguments: argparse.Namespace) -> int:
    from tpainn_calc.base.errors import DataError
    from tpainn_calc.base.schema import load_config
    from training.fit.config import RunConfig

    config = load_config(arguments.config, RunConfig, extra=True)
    from training.data.run_data import read_run_data

    data = read_run_data(config.data, Path.cwd(), forces=config.loss.forces > 0)
    for name in ("validation", "test"):
        for atoms in data.part(name):
            if arguments.key not in atoms.info:
                raise DataError(f"frames have no info key {arguments.key!r}")
            print(atoms.info[arguments.key])
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from tpainn_calc.modelfile import load_model
    from training.data.frames import Advice, read_frames
    from training.data.keys import LabelKeys
    from training.data.split import test_frames
    from training.fit.evaluation import evaluate
    from training.fit.parity import write_evaluation

    potential, manifest = load_model(arguments.model)
    level = manifest.level_of_theory if arguments.level is None else arguments.level
    frames, rejected = read_frames(
        arguments.data,
        level=level,
        forces=False,
        keys=LabelKeys(arguments.energy_key, arguments.forces_key, arguments.stress_key),
        advice=Advice(
            "--{}-key",
            f"of model {manifest.name!r}; --level compares with another level all the same",
        ),
    )
    if rejected:
        logging.warning("%d frames rejected; the first: %s", len(rejected), rejected[0])
    held_out = test_frames(arguments.split, frames) if arguments.split else frames
    report = evaluate(potential, held_out, title=f"{manifest.name} on {arguments.data.name}")
    print(report.describe())
    if arguments.output:
        write_evaluation(report, arguments.output)
        print(arguments.output / "parity.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
