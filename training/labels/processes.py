"""Label frames on processes of this machine, or on any executor, and survive those that die."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from ase import Atoms
from pebble import ProcessExpired, ProcessPool

from tpainn_calc.base.errors import one_line
from training.labels.engine_process import Failure, label_frame, start_engine_process
from training.labels.engines.config import AnyEngine
from training.labels.engines.contract import Label

#: Key of a frame, and what became of it.
Outcome = tuple[str, Label | Failure]


def label_on_executor(
    executor: Executor, config: AnyEngine, frames: Mapping[str, Atoms]
) -> Iterator[Outcome]:
    """Label frames on an executor of the user's, in the order in which they finish."""
    futures = {executor.submit(label_frame, config, atoms): key for key, atoms in frames.items()}
    try:
        for future in as_completed(futures):
            try:
                result: Label | Failure = future.result()
            except Exception as error:  # what a worker met is not known to us
                result = Failure(f"the worker died: {one_line(error)}", "crashed")
            yield futures[future], result
    finally:
        for future in futures:
            future.cancel()


def label_on_processes(
    jobs: int,
    config: AnyEngine,
    frames: Iterable[tuple[str, Atoms]],
    time_limit: float | None = None,
) -> Iterator[Outcome]:
    """Label frames on `jobs` processes of this machine, in the order in which they finish.

    A frame whose process dies is computed again with nothing beside it, since memory may have
    been short, and fails if the process dies once more. One that takes longer than `time_limit`
    seconds fails, and its process is ended with the engine that it has started.

    Parameters
    ----------
    jobs : int
    config : AnyEngine
    frames : iterable of (key, ase.Atoms)
        Taken as they are needed.
    time_limit : float, optional
        s.
    """
    waiting = iter(frames)
    running: dict[Future[Label | Failure], tuple[str, Atoms]] = {}
    suspects: dict[str, Atoms] = {}
    with tempfile.TemporaryDirectory("", "tpainn-labels-", ignore_cleanup_errors=True) as scratch:
        pool = ProcessPool(
            max(1, jobs),
            context=get_context("spawn"),  # engines with threads do not survive a fork
            initializer=start_engine_process,
            initargs=(scratch,),
        )

        def begin(key: str, atoms: Atoms) -> None:
            frame = pool.schedule(label_frame, (config, atoms), timeout=time_limit)
            running[frame] = key, atoms

        try:
            while True:
                if suspects and not running:
                    # it stays a suspect while it runs, so that nothing is begun beside it
                    begin(*next(iter(suspects.items())))
                while not suspects and len(running) <= jobs:  # one is ready when another ends
                    pair = next(waiting, None)
                    if pair is None:
                        break
                    begin(*pair)
                if not running:
                    break
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    key, atoms = running.pop(future)
                    outcome = _outcome(future, time_limit)
                    if not isinstance(outcome, Label):
                        _remove_scratch_of_the_dead(Path(scratch))
                    if outcome is None:
                        if key not in suspects:
                            suspects[key] = atoms
                            continue
                        outcome = Failure("the engine took its process down, twice", "crashed")
                    suspects.pop(key, None)
                    yield key, outcome
        finally:
            pool.stop()  # does not wait for labels that take minutes
            pool.join()


def _outcome(future: Future[Label | Failure], time_limit: float | None) -> Label | Failure | None:
    """Result for a frame; None where its process died."""
    try:
        return future.result()
    except TimeoutError:
        return Failure(f"took longer than {time_limit:g} s", "failed")
    except ProcessExpired:
        return None
    except BrokenProcessPool:  # died before they had anything to do
        return Failure("processes to label in cannot be kept running", "stop")


def _remove_scratch_of_the_dead(scratch: Path) -> None:
    """Remove what killed engines left: their processes name the folders."""
    for folder in scratch.iterdir():
        try:
            os.kill(int(folder.name), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
