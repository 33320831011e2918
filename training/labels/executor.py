"""Run frames on processes, or on any executor, and survive workers that die."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    as_completed,
    wait,
)
from concurrent.futures.process import BrokenProcessPool

from ase import Atoms

from training.labels.attempts import one_line
from training.labels.config import AnyEngine
from training.labels.engine import Label
from training.labels.worker import Failure, label_frame, start_worker

Outcome = tuple[str, Label | Failure]


def run_on_executor(
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


def run_on_processes(
    jobs: int, config: AnyEngine, frames: Mapping[str, Atoms]
) -> Iterator[Outcome]:
    """Label frames on `jobs` processes of this machine, in the order in which they finish.

    When a process dies, all frames that were being computed are suspect; each is computed again
    with nothing beside it, and fails if the process dies once more.
    """
    waiting, suspects = deque(frames), deque[str]()
    while waiting or suspects:
        with _pool(1 if suspects else min(jobs, len(waiting))) as pool:
            running: dict[Future[Label | Failure], str] = {}
            try:
                while waiting or suspects or running:
                    alone = bool(suspects)
                    queue = suspects if alone else waiting
                    while queue and len(running) < (1 if alone else jobs):
                        key = queue.popleft()
                        running[pool.submit(label_frame, config, frames[key])] = key
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        result = future.result()
                        yield running.pop(future), result
                    if alone and not suspects:
                        break  # a pool of full width again
            except BrokenProcessPool:
                if alone:
                    yield (
                        running.popitem()[1],
                        Failure("the engine took its process down, twice", "crashed"),
                    )
                else:
                    suspects.extend(running.values())
            except BaseException:
                _end_workers()
                raise


def _pool(jobs: int) -> ProcessPoolExecutor:
    # spawn: engines with threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=start_worker)


def _end_workers() -> None:
    """Do not wait for labels that take minutes."""
    for process in multiprocessing.active_children():
        process.terminate()
