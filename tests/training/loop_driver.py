"""Run a loop in processes that are killed: ``loop_driver.py CONFIG KILLS SEED LONGEST``.

LONGEST is the longest life, in seconds, of those that are killed by the clock. What is printed: how
many were killed, the processor time of all lives (s), and where they ended.

The packages are imported once, in the parent, since that takes longer than the loop itself.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import training.fit
import training.fit.evaluation
import training.loop.run
from tpainn_calc.base.schema import load_config
from training.loop.config import LoopConfig


def live(config: LoopConfig, replaces: int | None, before: bool) -> None:
    """Run the loop; die at the n-th file that is put in place, before or after."""
    left = replaces
    replace = os.replace

    def counting(*arguments, **options) -> None:
        nonlocal left
        left = None if left is None else left - 1
        if left == 0 and before:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*arguments, **options)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = counting
    training.loop.run.run_loop(config, Path.cwd(), progress=False)


def main() -> int:
    config = load_config(sys.argv[1], LoopConfig)
    kills, longest = int(sys.argv[2]), float(sys.argv[4])
    rng = random.Random(int(sys.argv[3]))
    killed, where, seconds = 0, [], 0.0
    while True:
        by_clock = rng.random() < 0.4
        replaces = None if by_clock or killed >= kills else rng.randint(1, 14)
        before = rng.random() < 0.5
        child = os.fork()
        if child == 0:
            os.setsid()
            try:
                live(config, replaces, before)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        if by_clock and killed < kills:
            time.sleep(rng.uniform(0.05, longest))
            # alone, or with the commands that it has started
            (os.kill if rng.random() < 0.5 else os.killpg)(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
        seconds += usage.ru_utime + usage.ru_stime
        if not os.WIFSIGNALED(status):
            print(killed, seconds, " ".join(where))
            return os.WEXITSTATUS(status)
        killed += 1
        where.append("clock" if by_clock else f"{'before' if before else 'after'}-{replaces}")


if __name__ == "__main__":
    sys.exit(main())
