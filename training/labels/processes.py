"""Run frames on processes, or on any executor, and survive workers that die."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import tempfile
import time
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
from dataclasses import dataclass

from ase import Atoms

from tpainn_calc.base.errors import one_line
from training.labels.engine_process import Failure, label_frame, start_worker
from training.labels.engines.config import AnyEngine
from training.labels.engines.contract import Label

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
    jobs: int,
    config: AnyEngine,
    frames: Mapping[str, Atoms],
    time_limit: float | None = None,
) -> Iterator[Outcome]:
    """Label frames on `jobs` processes of this machine, in the order in which they finish.

    A frame whose process dies is computed again with nothing beside it, since memory may have
    been short, and fails if the process dies once more. One that takes longer than `time_limit`
    seconds fails, and its process is ended with the engine that it has started.
    """
    waiting, suspects = deque(frames), deque[str]()
    idle = [_Worker() for _ in range(min(jobs, len(frames)))]
    running: dict[Future[Label | Failure], _Task] = {}
    try:
        while waiting or suspects or running:
            while idle and (queue := _next_queue(waiting, suspects, running)):
                task = _Task(queue.popleft(), idle.pop(), alone=queue is suspects)
                running[task.worker.begin(config, frames[task.key])] = task
            done, _ = wait(running, None if time_limit is None else 0.2, FIRST_COMPLETED)
            for future in done:
                task = running.pop(future)
                outcome = _outcome(future, task, time_limit)
                idle.append(task.worker)
                if outcome is None:
                    suspects.append(task.key)
                else:
                    yield task.key, outcome
            for task in running.values():
                if time_limit is not None and task.worker.seconds() > time_limit:
                    task.late = True
                    task.worker.kill()
    except BaseException:
        _end_workers()
        raise
    finally:
        for worker in (*idle, *(task.worker for task in running.values())):
            worker.close()


class _Worker:
    """A process with an engine, in a pool of its own: its death costs no other frame."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        # a killed engine leaves its scratch files: they go with this folder
        self._scratch = tempfile.TemporaryDirectory(
            prefix="tpainn-worker-", ignore_cleanup_errors=True
        )
        # spawn: engines with threads do not survive a fork
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(
            1, mp_context=context, initializer=start_worker, initargs=(self._scratch.name,)
        )
        self._began = float("inf")
        # the process comes up now, beside those of the other workers
        self._pid = self._pool.submit(os.getpid)
        self._pid.add_done_callback(lambda _: self._begin_clock())

    def _begin_clock(self) -> None:
        self._began = time.monotonic()

    def begin(self, config: AnyEngine, atoms: Atoms) -> Future[Label | Failure]:
        """Label a frame."""
        if self._pid.done():  # else the clock starts when the process is there
            self._begin_clock()
        try:
            return self._pool.submit(label_frame, config, atoms)
        except BrokenProcessPool:  # it died while it had nothing to do
            self.restart()
            return self._pool.submit(label_frame, config, atoms)

    def seconds(self) -> float:
        """How long the process has worked on its frame."""
        return time.monotonic() - self._began

    def kill(self) -> None:
        """End the process, and the engine that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid.result(), signal.SIGKILL)

    def restart(self) -> None:
        """Go on with another process."""
        self.close()
        self._start()

    def close(self) -> None:
        """End the process, when it is done."""
        self._pool.shutdown()
        self._scratch.cleanup()


@dataclass
class _Task:
    key: str
    worker: _Worker
    alone: bool
    late: bool = False


def _next_queue(
    waiting: deque[str], suspects: deque[str], running: Mapping[Future[Label | Failure], _Task]
) -> deque[str]:
    """Where the next frame comes from; empty where what is running must end first."""
    if any(task.alone for task in running.values()) or (suspects and running):
        return deque()
    return suspects or waiting


def _outcome(
    future: Future[Label | Failure], task: _Task, time_limit: float | None
) -> Label | Failure | None:
    """What became of a frame; None where it is to be computed once more."""
    try:
        result = future.result()
    except BrokenProcessPool:
        task.worker.restart()
        if task.late:
            return Failure(f"took longer than {time_limit:g} s", "failed")
        if task.alone:
            return Failure("the engine took its process down, twice", "crashed")
        return None
    if task.late:  # it came just in time, but its process is gone
        task.worker.restart()
    return result


def _end_workers() -> None:
    """Do not wait for labels that take minutes."""
    for process in multiprocessing.active_children():
        process.terminate()
