"""A small part of ``python -m benchmarks.fuzz``: sound files are accepted, damaged ones refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from benchmarks.fuzz import deployed
from benchmarks.fuzz.journal import Journal
from benchmarks.fuzz.mutations import BINARY, TEXT, Damage
from benchmarks.fuzz.sandbox import Verdict, run_child
from tpainn_calc.base.command import run_command
from tpainn_calc.base.tables import read_table

ROOT = Path(__file__).parents[1]
#: The quick ones; LAMMPS' inputs and trainings are left to the benchmark.
TARGETS = (
    "model file, bytes",
    "model file, manifest",
    "deployed file, 2 ranks",
    "code",
    "structures",
    "labels",
    "pool in tables",
)


def endless() -> int:
    while True:
        pass


def fails() -> int:
    raise ValueError("unforeseen")


def refuses() -> int:
    print("error: no", file=sys.stderr)
    return 2


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (refuses, Verdict.CLEAN),
        (lambda: 0, Verdict.HARMLESS),
        (lambda: run_command(fails), Verdict.BOUNDARY),
        (lambda: print("nan"), Verdict.SILENT),
        (fails, Verdict.TRACEBACK),
        (lambda: 1, Verdict.TRACEBACK),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), Verdict.CRASH),
        (lambda: 139, Verdict.CRASH),
        (endless, Verdict.HANG),
        (lambda: Path("victim").write_text("hurt") * 0, Verdict.CODE),
    ],
)
def test_the_harness_sees_what_it_is_to_see(tmp_path, body: Callable[[], int | None], verdict):
    ended = run_child(body, tmp_path, seconds=1)
    victim = tmp_path / "victim"
    assert ended.verdict(lambda ended: "nan" not in ended.output, victim.exists) == verdict


@pytest.mark.parametrize(
    ("make", "load"),
    [
        (deployed.pickled_table, lambda path: dict(np.load(path, allow_pickle=True))),
        (deployed.yaml_tags, lambda path: yaml.unsafe_load(path.read_text())),
        (deployed.pickled_model, lambda path: torch.load(path, weights_only=False)),
    ],
)
def test_attacks_work_on_those_who_trust(tmp_path, make, load):
    victim = tmp_path / "victim"
    make(tmp_path, np.random.default_rng(0), victim)
    (path,) = (p for p in tmp_path.iterdir() if p.suffix != ".extxyz")
    load(path)
    assert victim.read_text() == "AAAA\n"


def test_a_run_that_was_cut_off_goes_on(tmp_path):
    first = Journal(tmp_path / "work" / "cases.csv")
    first.add("pool, in tables", 3, "clean")
    first.add("pool, in tables", 4, "crash")
    again = Journal(tmp_path / "work" / "cases.csv", again=frozenset({"crash"}))
    assert again.get("pool, in tables", 3) == "clean"
    assert again.get("pool, in tables", 4) is None
    again.add("pool, in tables", 4, "clean")
    assert Journal(tmp_path / "work" / "cases.csv").get("pool, in tables", 4) == "clean"


@pytest.mark.parametrize("mutations", [BINARY, TEXT])
def test_damage_is_damage_and_follows_its_seed(mutations):
    data = b"energy=-1.5 stress=2e-3\n1 2 3\nO 0.0 0.5 1.0\n" * 5
    damaged = {Damage(np.random.default_rng(k)).of(data, mutations) for k in range(50)}
    assert data not in damaged
    assert len(damaged) > 40
    again = Damage(np.random.default_rng(7)).of(data, mutations)
    assert again == Damage(np.random.default_rng(7)).of(data, mutations)
    assert Damage(np.random.default_rng(7), sound=True).of(data, mutations) == data


def test_nothing_gets_through(tmp_path):
    """The command checks itself that each target accepts sound input."""
    table = tmp_path / "fuzz.csv"
    command = [sys.executable, "-m", "benchmarks.fuzz", "--cases", "40", "-o", str(table)]
    command += ["--work", str(tmp_path / "work")]
    done = subprocess.run(
        [*command, "--targets", *TARGETS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    total = read_table(table)[-1]
    assert total["cases"] >= 35
    assert total["clean"] > 20
    assert total["boundary"] == 0, done.stderr
