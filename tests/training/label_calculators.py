"""Calculators that go wrong in known ways; EMT does the rest."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import SCFError
from ase.calculators.emt import EMT


class LoggedEMT(EMT):
    """EMT that writes down every calculation; the `wait`-th waits until it may go on."""

    def __init__(self, log: str, wait: int = 0) -> None:
        super().__init__()
        self.log, self.wait = Path(log), wait

    def calculate(self, *arguments: Any, **keywords: Any) -> None:
        with self.log.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        if len(self.log.read_text().split()) == self.wait:
            while not self.log.with_suffix(".go").exists():
                time.sleep(0.02)
        super().calculate(*arguments, **keywords)


class LonelyEMT(EMT):
    """EMT that does not bear another one at work in its process, as the shell of an engine."""

    at_work = 0

    def calculate(self, *arguments: Any, **keywords: Any) -> None:
        LonelyEMT.at_work += 1
        time.sleep(0.02)
        alone = LonelyEMT.at_work == 1
        LonelyEMT.at_work -= 1
        if not alone:
            raise RuntimeError("two frames at once")
        super().calculate(*arguments, **keywords)


class FaultyEMT(EMT):
    """EMT that goes wrong where an oxygen atom is higher than `limit`."""

    def __init__(self, how: str, limit: float, log: str = "") -> None:
        super().__init__()
        self.how, self.limit, self.log = how, limit, log

    def calculate(self, atoms: Atoms, *arguments: Any, **keywords: Any) -> None:
        super().calculate(atoms, *arguments, **keywords)
        if atoms.positions[0, 2] <= self.limit:
            return
        if self.how == "scf":
            raise SCFError("no convergence\nin 50 steps")
        if self.how == "bug":
            raise KeyError("surprise")
        if self.how == "full":
            raise OSError(28, "No space left on device", "/scratch/wfn")
        if self.how == "hang":
            engine = subprocess.Popen(["sleep", "600"])  # as CP2K's shell is
            with open(self.log, "a") as stream:
                stream.write(f"{os.getpid()} {engine.pid} {tempfile.mkdtemp()}\n")
            engine.wait()
        if self.how == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.how == "nan":
            self.results["forces"] = np.full((len(atoms), 3), np.nan)
        if self.how == "net force":
            self.results["forces"] = self.results["forces"] + 1.0
        if self.how == "energy":
            self.results["energy"] += 200.0


class ScaledEMT(EMT):
    """EMT times a number."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def calculate(self, *arguments: Any, **keywords: Any) -> None:
        super().calculate(*arguments, **keywords)
        for name in ("energy", "free_energy", "forces"):
            self.results[name] = self.scale * self.results[name]
