"""The commands of ``tpainn``, one per file: its arguments, and what it does.

A command loads torch, ASE and the rest when it runs, so that ``tpainn --help`` is there at once.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]
