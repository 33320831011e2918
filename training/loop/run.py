"""The loop: stage after stage, round after round, each done once and found again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from tpainn_calc.base.errors import DataError
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.frames import read_extxyz, to_extxyz
from training.classical.config import ClassicalConfig
from training.classical.generate import generate
from training.classical.sources import level_of
from training.data.frames import read_frames
from training.data.paths import expand_path
from training.fit.parity import write_evaluation
from training.labels.engines.factory import make_engine
from training.loop.committee import frame_errors, judge, pretrain_member, tune_member
from training.loop.config import LoopConfig, StopStage
from training.loop.dynamics import DEVIATION, check_frames, make_starts, run_in_ase, uses_lammps
from training.loop.lammps_dynamics import run_in_lammps
from training.loop.ledger import Done, Ledger, loop_lock
from training.loop.picks import label, pick, pick_at_random, round_file, write_labelled
from training.loop.record import check_record
from training.loop.report import write_report
from training.run_folder import run_log

_log = logging.getLogger(__name__)


def run_loop(config: LoopConfig, base: Path, progress: bool = True) -> Path:
    """Run the loop until its committee is sure, its budget is spent or its rounds are over.

    Run it again after an interruption, at whatever point: stages that are done are not repeated,
    the one that was under way goes on from what it had written, and the campaign, its labels and
    the weights are those of an undisturbed run (same machine, same number of threads).

    Parameters
    ----------
    config : LoopConfig
    base : Path
        Folder that relative paths refer to.
    progress : bool
        Show bars, and a line per stage.

    Returns
    -------
    Path
        The folder: ``report.html``, ``rounds.csv``, ``config.yaml`` (with all defaults),
        ``log.txt``, the campaign, a folder per round.

    Raises
    ------
    ConfigError
        If the folder holds a loop of another configuration.
    DataError
        If a file of an earlier stage is gone or changed.
    Waiting
        If labels or trajectories are made elsewhere and are not there yet.
    """
    root = expand_path(config.output, base)
    with loop_lock(root):
        loop = Loop(config, base, root, progress)
        check_record(root, config, base, loop.level)
        with run_log(root, config):
            return loop.run()


class Loop:
    """A loop in its folder.

    Parameters
    ----------
    config : LoopConfig
    base : Path
        Folder that relative paths refer to.
    root : Path
        Folder of the loop; one process at a time works there.
    progress : bool
    """

    def __init__(self, config: LoopConfig, base: Path, root: Path, progress: bool) -> None:
        self.config = config
        self.base = base
        self.root = root
        self.progress = progress
        self.ledger = Ledger(root)
        self.campaign = root / "campaign"
        self.source = root / "source.extxyz"
        self.classical = ClassicalConfig(
            output=str(root.resolve() / "classical"),
            format="extxyz",
            seed=config.seed,
            **dict(config.classical),
        )
        self.classical_level = level_of(self.classical.source, base)
        engine = make_engine(config.label.engine)
        self.level = engine.level
        engine.close()

    def run(self) -> Path:
        """Do what is left to do."""
        if self.config.test.files:
            self._test_frames()  # said now rather than after hours
        self._stage("classical", [], self._make_pool)
        number, why = 0, None
        while why is None:
            self._round(number)
            why = self._enough(number)
            write_report(self.root, self.config, self._records(number), why)
            number += 1
        self._say(f"stopped: {why}")
        return self.root

    def _round(self, number: int) -> None:
        labelled = self.round(number) / "labelled.extxyz"
        pool = self.round(number - 1) / "candidates.extxyz" if number else self.source
        self._stage(self._name(number, "pick"), [pool], self._pick, number, pool)
        self._stage(self._name(number, "label"), [self._picks(number)], self._label, number)
        if number == 0:
            self._label_test()
            self._pretrain()
        for k in range(self.config.committee.size):
            reads = [labelled, self._pretrained(k)]
            self._stage(self._name(number, f"tune-{k}"), reads, self._tune, number, k)
        reads = [*self._models(number), labelled]
        tests = self._test_files()
        self._stage(self._name(number, "test"), [*reads, *tests], self._measure, number)
        self._stage(self._name(number, "md"), reads, self._sample, number)

    def round(self, number: int) -> Path:
        """Folder of a round."""
        return self.root / f"round-{number:02d}"

    # -- stages ------------------------------------------------------------------------------

    def _make_pool(self) -> Done:
        folder = generate(self.classical, self.base, progress=self.progress)
        frames = list(read_frames(folder, self.classical_level)[0])
        check_frames(self.config.md, frames)  # said now rather than after the training
        for atoms in frames:
            atoms.info = {k: v for k, v in atoms.info.items() if k not in ("source", "index")}
        n_test = self.config.test.frames
        if n_test is None:
            rest = frames
        else:
            everything = self.root / "classical.extxyz"
            write_atomically(everything, to_extxyz(frames))
            pick_at_random(everything, n_test, self.config.seed, self.root / "test")
            rows = [a.info["pool_row"] for a in read_extxyz(round_file(self.root / "test", 0))]
            rest = [atoms for k, atoms in enumerate(frames) if k not in set(rows)]
        write_atomically(self.source, to_extxyz(rest))
        return Done([self.source], {"frames": len(rest), "level": self.classical_level})

    def _pick(self, number: int, pool: Path) -> Done:
        pick(self.config, number, pool, self.campaign)
        frames = read_extxyz(round_file(self.campaign, number))
        write_atomically(self._picks(number), to_extxyz(frames))
        return Done([self._picks(number)], {"frames": len(frames)})

    def _label(self, number: int) -> Done:
        frames, failed = label(self.config, self.campaign, self.progress)
        new = [atoms for atoms in frames if atoms.info["round"] == number + 1]
        if not new:
            raise DataError(
                f"{self.campaign}: not one pick of round {number} has a label; see labels/ there, "
                f"and try 'tpainn-train label {self.campaign} --retry-failed --engine ...'"
            )
        seconds = sum(float(atoms.info["label_seconds"]) for atoms in new)
        path = self.round(number) / "labelled.extxyz"
        write_labelled(frames, path)
        results = {"labels": len(frames), "new": len(new), "failed": len(failed)}
        return Done([path], {**results, "seconds_in_engine": round(seconds, 2)})

    def _label_test(self) -> None:
        if self.config.test.frames is not None:
            self._stage("test-labels", [round_file(self.root / "test", 0)], self._label_drawn)

    def _label_drawn(self) -> Done:
        frames, failed = label(self.config, self.root / "test", self.progress)
        path = self.root / "test.extxyz"
        write_labelled(frames, path)
        return Done([path], {"labels": len(frames), "failed": len(failed)})

    def _pretrain(self) -> None:
        size = self.config.committee.size
        for k in range(size if self.config.committee.pretrain == "each" else 1):
            self._stage(f"pretrained/pretrain-{k}", [self.source], self._pretrain_member, k)
        reads = [*map(self._pretrained, range(size)), *self._test_files()]
        self._stage("pretrained/test", reads, self._measure_pretrained)

    def _pretrain_member(self, member: int) -> Done:
        output = self._pretrained(member).parent
        level = self.classical_level
        return Done([pretrain_member(self.config, member, self.source, level, output)])

    def _measure_pretrained(self) -> Done:
        models = [self._pretrained(k) for k in range(self.config.committee.size)]
        title = "pretrained: test frames"
        evaluation, _ = judge(models, self._test_frames(), title, self.config.device)
        return Done([], dict(evaluation.summary()))

    def _tune(self, number: int, member: int) -> Done:
        labelled = self.round(number) / "labelled.extxyz"
        start = self._pretrained(member)
        output = self._models(number)[member].parent
        return Done([tune_member(self.config, member, labelled, self.level, start, output)])

    def _measure(self, number: int) -> Done:
        folder, device = self.round(number), self.config.device
        title = f"round {number}: test frames"
        evaluation, deviation = judge(self._models(number), self._test_frames(), title, device)
        write_evaluation(evaluation, folder)
        results: dict[str, Any] = {**evaluation.summary(), "deviation": float(deviation.mean())}
        if number:  # what the committee said of these frames before it had seen them
            labelled = read_extxyz(folder / "labelled.extxyz")
            new = [atoms for atoms in labelled if atoms.info["round"] == number + 1]
            before, said = judge(self._models(number - 1), new, "", device)
            results["picks"] = {
                "forces_meV_per_A_mae": before.summary()["forces_meV_per_A_mae"],
                "error": np.round(frame_errors(before, new), 4).tolist(),
                "deviation": np.round(said, 4).tolist(),
            }
        return Done([folder / "evaluation.json"], results)

    def _sample(self, number: int) -> Done:
        config, folder = self.config, self.round(number)
        labelled = read_extxyz(folder / "labelled.extxyz")
        check_frames(config.md, labelled)
        starts = make_starts(labelled, config.md, (config.seed, number))
        models = self._models(number)
        if uses_lammps(config.md, labelled):
            trajectories = run_in_lammps(config.md, starts, models, folder / "md")
        else:
            trajectories = run_in_ase(config.md, starts, models, config.device, folder / "md")
        frames = [atoms for t in trajectories for atoms in t.frames]
        if not frames:
            raise DataError(
                f"{folder}: no frame of the MD stays under md.ceiling {config.md.ceiling} eV/Å: "
                f"raise it and remove {folder / 'md'}, or begin anew with more labels"
            )
        path = folder / "candidates.extxyz"
        write_atomically(path, to_extxyz(frames))
        deviations = np.array([atoms.info[DEVIATION] for atoms in frames])
        return Done(
            [path],
            {
                "frames": len(frames),
                "ended_early": sum(bool(t.ended) for t in trajectories),
                "reasons": [t.ended for t in trajectories if t.ended],
                "deviation": float(deviations.mean()),
                "deviations": np.round(deviations, 4).tolist(),
            },
        )

    # -- what comes next ---------------------------------------------------------------------

    def _enough(self, number: int) -> str | None:
        """Reason to end the loop after a round, or None."""
        stop = self.config.stop
        md = self._result(self._name(number, "md"))
        labels = self._result(self._name(number, "label"))["labels"]
        if is_sure(stop, md):
            return (
                f"the committee is sure: deviation {md['deviation']:.3f} eV/Å, "
                f"below {stop.deviation}"
            )
        if stop.labels is not None and self._picked(number) + self.config.pick.next > stop.labels:
            return f"the budget of {stop.labels} labels is spent ({labels} labels)"
        if number + 1 >= stop.rounds:
            return f"{stop.rounds} rounds are done ({labels} labels)"
        return None

    def _picked(self, number: int) -> int:
        # failed frames cost as much as others
        names = [self._name(k, "pick") for k in range(number + 1)]
        return sum(self._result(name)["frames"] for name in names)

    # -- names -------------------------------------------------------------------------------

    def _name(self, number: int, stage: str) -> str:
        return f"{self.round(number).name}/{stage}"

    def _picks(self, number: int) -> Path:
        return self.round(number) / "picks.extxyz"

    def _pretrained(self, member: int) -> Path:
        which = member if self.config.committee.pretrain == "each" else 0
        return self.root / "pretrained" / f"member-{which}" / "pretrained.safetensors"

    def _models(self, number: int) -> list[Path]:
        name = f"{self.config.name}.safetensors"
        members = range(self.config.committee.size)
        return [self.round(number) / f"member-{k}" / name for k in members]

    def _test_files(self) -> list[Path]:
        if self.config.test.frames is not None:
            return [self.root / "test.extxyz"]
        return [expand_path(name, self.base) for name in self.config.test.files]

    def _test_frames(self) -> list[Atoms]:
        found: list[Atoms] = []
        for path in self._test_files():
            frames, rejected = read_frames(path, self.level)
            if rejected:
                raise DataError(f"test: {rejected[0]}")
            found += frames
        return found

    # -- the record --------------------------------------------------------------------------

    def _stage(
        self, name: str, inputs: Sequence[Path], work: Callable[..., Done], *arguments: Any
    ) -> None:
        record, fresh = self.ledger.run(name, inputs, lambda: work(*arguments))
        if fresh:
            self._say(f"{name:22s} {record['seconds']:8.1f} s  {_brief(record['results'])}")

    def _say(self, line: str) -> None:
        _log.debug("%s", line)
        if self.progress:
            print(line, flush=True)

    def _result(self, name: str) -> dict[str, Any]:
        record = self.ledger.read(name)
        assert record is not None  # called after the stage
        return dict(record["results"])

    def _records(self, last: int) -> dict[str, dict[str, Any]]:
        """Records of all stages by name, those of earlier rounds first."""
        found = {}
        for folder in (self.root, self.root / "pretrained", *map(self.round, range(last + 1))):
            for marker in sorted(folder.glob("*.done.json")):
                name = str(marker.relative_to(self.root)).removesuffix(".done.json")
                record = self.ledger.read(name)
                assert record is not None  # just seen
                found[name] = record
        return found


def is_sure(stop: StopStage, md: dict[str, Any]) -> bool:
    """Whether the committee deviates little enough; not if a trajectory met the ceiling."""
    if stop.deviation is None or md["ended_early"]:
        return False
    return bool(md["deviation"] < stop.deviation)


def _brief(results: dict[str, Any]) -> str:
    shown = {
        "frames": "{:d} frames",
        "labels": "{:d} labels",
        "failed": "{:d} failed",
        "forces_meV_per_A_mae": "force MAE {:.1f} meV/Å",
        "deviation": "deviation {:.3f} eV/Å",
        "ended_early": "{:d} ended early",
    }
    return ", ".join(text.format(results[k]) for k, text in shown.items() if k in results)
