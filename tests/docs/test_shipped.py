"""What documents say of the errors of the shipped potentials is what their files say.

All of it is made by ``python -m examples.water.shipped``, and by ``tpainn-train distill``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from examples.water.needed import Outcome
from tpainn_calc.base.tables import read_table
from tpainn_calc.manifest import read_manifest

ROOT = Path(__file__).parents[2]
EVALUATION = json.loads((ROOT / "examples/water/scratch_evaluation.json").read_text())
NUMBER = r"\**(\d+(?:\.\d+)?)\**"
PLACES = [
    (
        "examples/water/README.md",
        rf"\| energy, meV/atom \| {NUMBER} \| {NUMBER} \|",
        ["energy_meV_per_atom_mae", "energy_meV_per_atom_rmse"],
    ),
    (
        "examples/water/README.md",
        rf"\| forces, meV/Å \| {NUMBER} \| {NUMBER} \|",
        ["forces_meV_per_A_mae", "forces_meV_per_A_rmse"],
    ),
    (
        "examples/water/README.md",
        rf"\| forces on H / O, meV/Å \| {NUMBER} / {NUMBER} \| {NUMBER} / {NUMBER} \|",
        [f"forces_{s}_meV_per_A_{kind}" for kind in ("mae", "rmse") for s in "HO"],
    ),
    ("examples/water/README.md", rf"Errors on {NUMBER} held-out frames", ["n_frames"]),
    (
        "examples/water/README.md",
        rf"\| [^|]*\(shipped\) \| {NUMBER} / {NUMBER} \| {NUMBER} / {NUMBER} \|",
        [
            *("energy_meV_per_atom_mae", "energy_meV_per_atom_rmse"),
            *("forces_meV_per_A_mae", "forces_meV_per_A_rmse"),
        ],
    ),
    (
        "examples/water/README.md",
        rf"`water-revpbe0-d3` \([^)]*\) has {NUMBER} meV/Å",
        ["forces_meV_per_A_mae"],
    ),
]


def text_of(name: str) -> str:
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


def says(text: str, pattern: str, values: list[float]) -> None:
    """The numbers in the only place of the pattern, to the digits that are written there."""
    (found,) = re.findall(pattern, text)
    numbers = [found] if isinstance(found, str) else list(found)
    digits = [len(number.partition(".")[2]) for number in numbers]
    assert numbers == [f"{v:.{n}f}" for v, n in zip(values, digits, strict=True)]


def test_the_manifest_has_the_errors_of_the_evaluation():
    errors = read_manifest("water-revpbe0-d3").errors
    assert {k: v for k, v in EVALUATION.items() if k != "title"} == {
        k: v for k, v in errors.items() if k != "set"
    }


@pytest.mark.parametrize(("name", "pattern", "keys"), PLACES)
def test_documents_have_the_errors_of_the_evaluation(name, pattern, keys):
    says(text_of(name), pattern, [EVALUATION[key] for key in keys])


TUNED = ROOT / "examples/water/potential"
OF_THE_TUNED = [
    (
        "README.md",
        rf"forces {NUMBER} meV/Å, energies {NUMBER} meV/atom, "
        rf"mean error of the pressure {NUMBER} MPa",
    ),
    (
        "examples/water/potential/README.md",
        rf"\| 0 \(shipped\) \| {NUMBER} \| {NUMBER} \| (?:[\d.]+) \| {NUMBER} \|",
    ),
]


@pytest.mark.parametrize(("name", "pattern"), OF_THE_TUNED)
def test_documents_have_the_errors_of_the_tuned_potential(name, pattern):
    errors = read_manifest("water").errors
    evaluation = json.loads((TUNED / "autotune_evaluation.json").read_text())
    assert {k: v for k, v in evaluation.items() if k != "title"} == {
        k: v for k, v in errors.items() if k != "set"
    }
    keys = ("forces_meV_per_A_mae", "energy_meV_per_atom_mae", "pressure_MPa_mean_error")
    says(text_of(name), pattern, [errors[key] for key in keys])


PROPERTIES = read_table(TUNED / "properties.csv")


def test_the_manifest_has_the_properties_of_the_long_runs():
    known = read_manifest("water").properties
    assert {r["value"] for r in PROPERTIES} == {p.value for p in known.values()}


@pytest.mark.parametrize("name", ["README.md", "examples/water/potential/README.md"])
def test_documents_have_the_density_over_temperature(name):
    rows = sorted((r["temperature"], r) for r in PROPERTIES if r["quantity"] == "density")
    cells = " \\| ".join(rf"{NUMBER} ± {NUMBER}" for _ in rows)
    says(
        text_of(name),
        rf"\| density, g/cm³ \| {cells} \|",
        [row[k] for _, row in rows for k in ("value", "error")],
    )


@pytest.mark.parametrize(
    ("words", "quantity", "waters"),
    [
        ("compressibility, 1/GPa", "compressibility", 64),
        ("enthalpy of vaporisation, kJ/mol", "enthalpy of vaporisation", 64),
        ("first peak of g_OO", "first peak of g_OO", 64),
        ("diffusion, 64 waters, Å²/ps", "diffusion", 64),
    ],
)
def test_the_readme_has_the_properties_at_300_K(words, quantity, waters):
    (row,) = (
        r
        for r in PROPERTIES
        if (r["quantity"], r["temperature"], r["waters"]) == (quantity, 300.0, waters)
    )
    pattern = rf"\| {re.escape(words)} \| {NUMBER} ± {NUMBER} \|"
    says(text_of("README.md"), pattern, [row["value"], row["error"]])


@pytest.mark.parametrize("name", ["README.md", "examples/water/potential/README.md"])
def test_documents_have_the_verification(name):
    found = json.loads((TUNED / "verify" / "verify.json").read_text())
    assert found["trained_on"] == found["engine"] == read_manifest("water").level_of_theory
    says(
        text_of(name),
        rf"forces {NUMBER} meV/Å, energies {NUMBER} meV/atom, pressure of the model "
        rf"−{NUMBER} ± {NUMBER} MPa .* right to \+{NUMBER} ± {NUMBER} g/cm³",
        [
            found["forces_meV_per_A_mae"],
            found["energy_meV_per_atom_mae"],
            -found["pressure_difference_MPa"],
            found["pressure_difference_error_MPa"],
            found["density_error_g_per_cm3"],
            found["density_error_error_g_per_cm3"],
        ],
    )


ARMS = {"scratch": "scratch", "tpainn": "T-PaiNN", "three-levels": "T-PaiNN, three levels"}
COLUMNS = (
    "test_forces_meV_per_A_mae",
    "test_energy_meV_per_atom_mae",
    "test_stress_MPa_mae",
    "test_pressure_MPa_mean_error",
)


@pytest.mark.parametrize("n", [10, 50])
@pytest.mark.parametrize("arm", ARMS)
def test_documents_have_the_study(arm, n):
    """Means of the seeds in both, their spread in the longer one; pressures by their size."""
    curve = read_table(TUNED / "study" / "curve.csv")
    runs = [r for r in curve if r["chosen"] and (r["arm"], r["n_train"]) == (arm, n)]
    assert len(runs) == 3
    columns = [[abs(r[c]) for r in runs] for c in COLUMNS]
    means = [sum(column) / 3 for column in columns]
    spread = [x for c, m in zip(columns, means, strict=True) for x in (m, min(c), max(c))]
    density = read_table(TUNED / "study" / "density.csv")
    fates = [Outcome(**r) for r in density if (r["arm"], r["n_train"]) == (arm, n)]
    liquid = [sum(o.held for o in fates), len(fates)]
    row = rf"\| N = {n}, {ARMS[arm]} \| "
    short = row + rf"{NUMBER} \| " * 4 + rf"{NUMBER} of {NUMBER} \|"
    says(text_of("README.md"), short, [*means, *liquid])
    long = row + rf"{NUMBER} \({NUMBER} to {NUMBER}\) \| " * 4 + rf"{NUMBER} of {NUMBER}:"
    says(text_of("examples/water/potential/README.md"), long, [*spread, *liquid])


def test_the_tuned_potential_is_a_t_painn():
    manifest = read_manifest("water")
    assert manifest.training["method"] == "autotune"
    assert len(manifest.reference_energies) == 3  # its levels
    assert manifest.training["n_test"] == manifest.errors["n_frames"]


def test_the_manual_has_the_errors_of_the_student():
    errors = read_manifest("water-fast").errors
    says(
        text_of("docs/mts.md"),
        rf"forces are {NUMBER} meV/Å off the teacher's \(MAE, {NUMBER} held-out frames\), "
        rf"its energies {NUMBER} meV/atom",
        [errors[k] for k in ("forces_meV_per_A_mae", "n_frames", "energy_meV_per_atom_mae")],
    )


def test_the_picture_is_of_the_evaluation():
    """The picture of the README carries the numbers that it was drawn with."""
    (name,) = re.findall(r"!\[parity\]\(([^)]*)\)", text_of("README.md"))
    evaluation = json.loads((TUNED / "autotune_evaluation.json").read_text())
    with Image.open(ROOT / name) as picture:
        drawn = json.loads(picture.text["Description"])
    assert drawn == {k: evaluation[k] for k in drawn}
    assert set(evaluation) - set(drawn) == {"title", "n_frames"}
