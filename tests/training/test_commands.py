"""Configurations to begin with, the reference of all keys, and how soon a command answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import ase.io
import pytest
from ase import Atoms

from tpainn_calc._version import __version__
from tpainn_calc.base.schema import load_config
from training.cli import main
from training.commands import keys
from training.commands.init import KINDS, init
from training.fit import fit
from training.fit.config import TrainingConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_to_begin_with_fits_its_schema(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", kind]) == 0
    said = capsys.readouterr().out
    assert f"{kind}.yaml written; edit it, then: tpainn-train {kind} {kind}.yaml" in said
    load_config(f"{kind}.yaml", keys.SCHEMAS[kind])
    assert main(["init", kind]) == 2
    assert f"{kind}.yaml exists; choose another name by -o" in capsys.readouterr().err


def test_the_one_for_scratch_trains(tmp_path: Path, frames: list[Atoms]) -> None:
    ase.io.write(tmp_path / "dft.extxyz", frames, format="extxyz")
    init("scratch", tmp_path / "mine.yaml")
    config = load_config(tmp_path / "mine.yaml", TrainingConfig)
    # as it is, but for the time that it takes
    optimizer = config.optimizer.model_copy(update={"max_steps": 20})
    model = config.model.model_copy(update={"n_features": 16})
    short = config.model_copy(update={"optimizer": optimizer, "model": model})
    assert fit(short, tmp_path, progress=False).name == "potential.safetensors"


def sections() -> list[Any]:
    found = {}
    for command, schema in keys.SCHEMAS.items():
        found[schema] = command
        found |= {section: f"{command}: {path}" for path, section in keys._sections(schema)}
    return [pytest.param(section, id=name) for section, name in found.items()]


@pytest.mark.parametrize("section", sections())
def test_every_key_has_a_meaning(section: Any) -> None:
    for row in keys._table(section).splitlines()[2:]:
        assert not row.endswith("|  |"), f"{section.__name__}: nothing is said of {row}"


def test_the_reference_in_the_manual_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys"]) == 0
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == capsys.readouterr().out, "tpainn-train keys > docs/configuration.md"
    for key in ("norm_epsilon", "energy_key", "logger", "subset_seed"):
        assert f"| `{key}` |" in written


HEAVY = "{'torch', 'lightning', 'ase.calculators', 'scipy', 'matplotlib', 'openmm', 'rdkit'}"


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "--version",
        "scratch --help",
        "init scratch",
        "keys",
        *(f"{command} wrong.yaml" for command in KINDS),
        "split wrong.yaml",
        "distill wrong.yaml",
        "teachers wrong.yaml",
    ],
)
def test_what_needs_no_torch_loads_none(words: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("outputs: run\n")
    code = (
        "import sys; from training.cli import main\n"
        f"sys.argv = ['tpainn-train', *{words.split()!r}]\n"
        "try: code = main()\n"
        "except SystemExit as end: code = end.code\n"
        f"print(code, *sorted({HEAVY} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    expected = "2" if "wrong" in words else "0"
    assert done.stderr.splitlines()[-1] == expected
    if words == "--version":
        assert done.stdout == f"tpainn-train {__version__}\n"
