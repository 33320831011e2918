"""The quickstart's report, from a short run of its own format; `make quickstart` runs it all."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest

from examples.quickstart.__main__ import STRUCTURE
from examples.quickstart.report import DENSITY, Run, write_report
from tpainn_calc.manifest import MeasuredProperty

N_FRAMES = 12


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Twelve frames of the starting structure that shakes, as LAMMPS dumps them."""
    rng = np.random.default_rng(0)
    start = ase.io.read(STRUCTURE)
    length = start.cell.lengths()[0]
    lines = []
    for k in range(N_FRAMES):
        lines += ["ITEM: TIMESTEP", str(50 * k), "ITEM: NUMBER OF ATOMS", str(len(start))]
        lines += ["ITEM: BOX BOUNDS pp pp pp", *[f"0 {length}"] * 3]
        lines += ["ITEM: ATOMS id type xu yu zu"]
        shaken = start.positions + rng.normal(0, 0.05, start.positions.shape)
        for i, (symbol, x) in enumerate(zip(start.symbols, shaken, strict=True)):
            lines.append(f"{i + 1} {1 if symbol == 'O' else 2} {x[0]:.6f} {x[1]:.6f} {x[2]:.6f}")
    (tmp_path / "npt.dump").write_text("\n".join(lines) + "\n")
    (tmp_path / "npt.lammps").write_text("pair_coeff * * water.pt O H # <input>\n")
    thermo = {
        "Step": [50.0 * k for k in range(N_FRAMES)],
        "Temp": rng.normal(300, 10, N_FRAMES).tolist(),
        "PotEng": rng.normal(-30000, 1, N_FRAMES).tolist(),
        "Density": rng.normal(0.91, 0.001, N_FRAMES).tolist(),
    }
    return Run(tmp_path, thermo, len(start), 0.5, 10.0, 1e-7, 0.2)


def test_the_report_is_one_file_with_references(run: Run) -> None:
    lines = write_report(run)
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    # nothing beside it is needed: no file, no address
    assert len(re.findall(r"<img ", page)) == 3
    assert all(s.startswith("data:") for s in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert "# &lt;input&gt;" in page
    summary = json.loads((run.folder / "summary.json").read_text())
    assert summary["density, experiment, 300 K"] == "0.997 g/cm³"
    assert summary["density"].startswith("0.914 ± 0.000 g/cm³")
    assert f"density: {summary['density']}" in lines
    for name, value in summary.items():
        assert name in page
        assert value in page
    for name in ("density", "g_OO", "thermo"):
        assert (run.folder / f"{name}.png").stat().st_size > 5000
        assert "time / ps" in (run.folder / f"{name}.svg").read_text() or name == "g_OO"


@pytest.mark.parametrize("bars", [0.0, 5.0])
def test_the_density_is_held_against_long_runs(run: Run, bars: float) -> None:
    """In error bars, not by a fixed number."""
    atoms = ase.io.read(STRUCTURE)  # whose density the frames have, without an error
    density = atoms.get_masses().sum() / atoms.get_volume() / 0.602214
    known = MeasuredProperty(
        value=density - bars * 0.002, error=0.002, unit="g/cm³", source="<a command>"
    )
    manifest = run.manifest.model_copy(
        update={"level_of_theory": "revPBE0-D3", "properties": {DENSITY: known}}
    )
    summary = _summary_of(replace(run, manifest=manifest))
    assert summary["density − that of long runs"] == f"{bars:.1f} error bars"
    assert summary["density, revPBE0-D3, classical nuclei"] == "0.940 g/cm³"
    assert "&lt;a command&gt;" in (run.folder / "report.html").read_text(encoding="utf-8")


def test_densities_of_other_functionals_are_left_out(run: Run) -> None:
    manifest = run.manifest.model_copy(update={"level_of_theory": "SCAN", "properties": {}})
    summary = _summary_of(replace(run, manifest=manifest))
    assert not [name for name in summary if "revPBE0-D3" in name or "long runs" in name]
    assert summary["density, experiment, 300 K"] == "0.997 g/cm³"


def _summary_of(run: Run) -> dict[str, str]:
    write_report(run)
    return dict(json.loads((run.folder / "summary.json").read_text()))
