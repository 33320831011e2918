"""``tpainn-train`` that is killed after so many steps: ``killed_training.py STEPS WORD...``.

Helpers that Lightning starts run this script too, and live on.
"""

from __future__ import annotations

import os
import signal
import sys

from torch.optim.optimizer import register_optimizer_step_post_hook

from training.cli import main

HELPER = "LOCAL_RANK" in os.environ
left = int(sys.argv[1])


def count(*_: object) -> None:
    """Die at once, as by ``kill -9``, when the steps are done."""
    global left
    left -= 1
    if left == 0 and not HELPER:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    register_optimizer_step_post_hook(count)
    sys.exit(main(sys.argv[2:]))
