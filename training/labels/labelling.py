"""Label the open frames of a campaign."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from ase import Atoms
from tqdm import tqdm

from seedselect.campaign import Campaign, ingest
from tpainn_calc.base.errors import ConfigError, DataError, TPaiNNError
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.frames import to_extxyz
from training.labels.breakdowns import settle
from training.labels.checks import energy_outliers
from training.labels.engines.config import AnyEngine, LabelConfig
from training.labels.engines.contract import Label
from training.labels.engines.factory import make_engine
from training.labels.folder import LabelFolder, label_lock
from training.labels.processes import Outcome, label_on_executor, label_on_processes
from training.run_folder import run_log

_log = logging.getLogger(__name__)

#: Labels go into the campaign this often, s; they are on disk the moment they exist.
INGEST_EVERY = 60.0

#: How long another process that works on the campaign is waited for, s.
PATIENCE = 120.0


@dataclass
class Summary:
    """Result of a run.

    Attributes
    ----------
    labelled, failed, skipped : int
        Frames of this run with a label and without, and those that were done before.
    seconds : float
    reasons : dict key -> str
        Why frames failed, in this run or before.
    labels : Path
        All labels of the campaign, with stress and level: what to train on.
    """

    labelled: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    reasons: dict[str, str] = field(default_factory=dict)
    labels: Path = Path()

    def describe(self) -> str:
        """A few lines for the terminal."""
        lines = [
            f"{self.labelled} labelled, {self.failed} failed, {self.skipped} done before, "
            f"in {self.seconds:.0f} s: {self.labels}"
        ]
        return "\n".join([*lines, *(f"  failed {key}: {why}" for key, why in self.reasons.items())])


def label_campaign(
    directory: Path,
    engine: AnyEngine,
    *,
    jobs: int = 1,
    progress: bool = True,
    executor: Executor | None = None,
    retry_failed: bool = False,
    share: tuple[int, int] | None = None,
    time_limit: float | None = None,
) -> Summary:
    """Label the open frames of a campaign and hand the labels to it.

    Every label is on disk, in ``labels/``, the moment it exists; the campaign takes them once a
    minute and at the end. The engine's settings are beside them in ``config.yaml``, the course of
    the run in ``log.txt``. Run it again after an interruption: only what is missing is computed.

    Parameters
    ----------
    directory : Path
        As ``seedselect pick`` wrote it.
    engine : EngineConfig
    jobs : int
        Processes of this machine.
    progress : bool
        Show a bar with the time left.
    executor : concurrent.futures.Executor, optional
        Used instead of processes of this machine, such as that of a Dask client.
    retry_failed : bool
        Try again what failed before.
    share : (int, int), optional
        ``(k, n)``: label frames k, k + n, k + 2n, ... only, beside n - 1 others, and leave them in
        ``labels/``; a run without takes them into the campaign.
    time_limit : float, optional
        A frame fails after so many seconds, s. Only processes of this machine can be ended so.

    Returns
    -------
    Summary

    Raises
    ------
    ConfigError
        If the engine is not installed; a time limit beside an executor.
    DataError
        No campaign, labels of unknown frames or of another level, another run at work.
    LabelError
        The engine breaks down again and again.
    OSError
        The disk is full.
    """
    if executor is not None and time_limit is not None:
        raise ConfigError(
            "a time limit is for processes of this machine (--jobs): those of Dask or another "
            "executor cannot be ended"
        )
    began = time.monotonic()
    campaign = Campaign.open(directory)
    if campaign.manifest.kind != "frames":
        raise DataError(f"{directory}: a campaign of table rows; an engine labels frames")
    made = make_engine(engine)
    folder = LabelFolder(directory / "labels")
    with label_lock(folder.path, share):
        run = _Labelling(campaign, folder, made.level, whole=share is None)
        folder.record(made.level, made.describe())
        made.close()
        with run_log(folder.path, LabelConfig(engine=engine)):
            todo = run.begin(retry_failed, share)
            if executor is not None:
                outcomes = label_on_executor(executor, engine, todo)
            else:
                jobs = min(jobs, len(todo))
                outcomes = label_on_processes(jobs, engine, todo.items(), time_limit)
            try:
                run.consume(outcomes, len(todo), progress)
            except BaseException:
                with contextlib.suppress(TPaiNNError, OSError):  # the first error is to be told
                    run.finish()
                raise
            run.finish()
            run.summary.seconds = time.monotonic() - began
            _log.debug("%s", run.summary.describe())
            return run.summary


class _Labelling:
    def __init__(self, campaign: Campaign, folder: LabelFolder, level: str, whole: bool) -> None:
        self.campaign = campaign
        self.states = campaign.states()
        self.folder = folder
        self.level = level
        self.whole = whole
        self.summary = Summary(labels=campaign.directory / "labelled.extxyz")
        self._ingested = time.monotonic()
        self._new: set[str] = set()

    def begin(self, retry_failed: bool, share: tuple[int, int] | None) -> dict[str, Atoms]:
        """Take what an earlier run left; return what is to be labelled."""
        states = self.states
        unknown = sorted((self.folder.keys() | set(self.folder.failures())) - set(states))
        if unknown:
            raise DataError(
                f"{self.folder.path}: a label of frame {unknown[0]}, which was not chosen in this "
                "campaign; move it away"
            )
        if self.whole:
            for partial in self.folder.path.glob(".*.*"):
                if not partial.name.startswith(".lock"):
                    partial.unlink()  # of a killed run
        mine = (
            self.campaign.entries if share is None else self.campaign.entries[share[0] :: share[1]]
        )
        if retry_failed:
            for entry in mine:
                self.folder.forget_failure(entry.key)
        if self.whole:
            self.ingest()
        known = self.folder.keys() | set(self.folder.failures())
        wanted = ("pending", "failed") if retry_failed else ("pending",)
        todo = [e.key for e in mine if states[e.key] in wanted and e.key not in known]
        self.summary.skipped = len(mine) - len(todo)
        found = self.campaign.frames(todo)
        return {key: found[key] for key in todo}

    def consume(self, outcomes: Iterator[Outcome], total: int, progress: bool) -> None:
        """Keep every outcome as it comes."""
        done = self.summary.skipped
        with tqdm(total=done + total, initial=done, disable=not progress, unit="label") as bar:
            for key, result in settle(outcomes):
                self._keep(key, result)
                bar.update()
                bar.set_postfix_str(f"{self.summary.failed} failed", refresh=False)
                if self.whole and time.monotonic() - self._ingested > INGEST_EVERY:
                    self.ingest()

    def _keep(self, key: str, result: Label | str) -> None:
        if isinstance(result, str):
            self._fail(key, result)
        else:
            self.folder.write(key, result)
            self.summary.labelled += 1
            self._new.add(key)

    def _fail(self, key: str, reason: str) -> None:
        self.folder.write_failure(key, reason, self.level)
        self.summary.failed += 1
        _log.warning("frame %s failed: %s", key, reason)

    def finish(self) -> None:
        """Hand over what there is, after an error too."""
        if self.whole:
            self.ingest()
        self.summary.reasons = self.folder.failures()

    def ingest(self) -> None:
        """Take labels and failures into the campaign and write all labels into one file."""
        states = self.states
        labels = self.folder.read(sorted(self.folder.keys()))
        for key, reason in energy_outliers(labels).items():
            self._fail(key, reason)
            del labels[key]
            self.summary.labelled -= key in self._new
        new = {key: atoms for key, atoms in labels.items() if states[key] != "done"}
        failed = [key for key in self.folder.failures() if states[key] == "pending"]
        if new or failed:
            ingest(
                self.campaign.directory,
                frames=list(new.values()),
                failed=failed,
                patience=PATIENCE,
            )
            states |= dict.fromkeys(failed, "failed") | dict.fromkeys(new, "done")
        in_order = [labels[e.key] for e in self.campaign.entries if e.key in labels]
        # compared with what is there: a run may have been killed after the campaign took them
        content = to_extxyz(in_order) if in_order else b""
        path = self.summary.labels
        if content and not (path.is_file() and path.read_bytes() == content):
            write_atomically(path, content)
        self._ingested = time.monotonic()
