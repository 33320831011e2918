"""The closed loop on clusters of copper: Morse as the force field, EMT in the place of DFT."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from tpainn_calc.base.schema import load_config
from tpainn_calc.base.tables import read_table
from tpainn_calc.modelfile import load_model
from training.cli import main
from training.loop.config import LoopConfig, MDStage, StopStage
from training.loop.dynamics import Start
from training.loop.lammps_dynamics import prepare
from training.loop.run import Loop

CLUSTER = """\
5
cluster
Cu 0.00 0.00  0.0
Cu 2.30 0.00  0.0
Cu 1.15 2.00  0.0
Cu 1.15 0.67  1.9
Cu 1.15 0.67 -1.9
"""

CONFIG = """\
output: run
seed: 1
classical:
  source:
    kind: calculator
    calculator: ase.calculators.morse.MorsePotential
    arguments: {epsilon: 0.5, r0: 2.4, rho0: 4.0}
    structures: start.xyz
    level: Morse
    frames: 40
    sampling: langevin
    temperature: 400
    spacing: 0.02
    timestep: 1.0
test: {frames: 5}
pick:
  first: 6
  next: 4
  settings: {n_estimators: 8, n_features: 32, dedup: 0.0, length_factor: 0.3}
label:
  engine: {kind: ase, calculator: ase.calculators.emt.EMT, level: EMT, stress: false}
pretrain:
  validation: 0.1
  model: {n_features: 8, n_blocks: 1, cutoff: 4.0, n_basis: 6}
  optimizer: &short
    {learning_rate: 5.0e-3, max_steps: 20, batch_size: 4, validate_every: 10, warmup_steps: 5,
     ema_decay: 0.9}
autotune:
  validation: 0.2
  optimizer: *short
committee: {size: 2}
md: {trajectories: 2, temperatures: [200, 300], steps: 60, timestep: 1.0, every: 6, ceiling: 50.0}
stop: {rounds: 2}
"""


GIVEN_TEST = ("test: {frames: 5}", "test: {files: [test.extxyz]}")


def write_config(folder: Path, *changes: tuple[str, str]) -> Path:
    """Write the configuration, changed, and the structure that it names."""
    text = CONFIG
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "start.xyz").write_text(CLUSTER)
    path = folder / "loop.yaml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a loop of two rounds, and its configuration."""
    folder = tmp_path_factory.mktemp("loop")
    assert run(folder) == 0
    return folder


def run(folder: Path, *changes: tuple[str, str]) -> int:
    """Run the command in a folder."""
    before = Path.cwd()
    write_config(folder, *changes)
    os.chdir(folder)
    try:
        return main(["loop", "--quiet", "loop.yaml"])
    finally:
        os.chdir(before)


def refuse(capsys: pytest.CaptureFixture[str], folder: Path, match: str, *changes) -> None:
    """Expect exit code 2 and one line that holds `match`."""
    capsys.readouterr()
    assert run(folder, *changes) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert match in error, error


def frames(path: Path) -> list[ase.Atoms]:
    return ase.io.read(path, ":", format="extxyz")


def keys(path: Path) -> list[str]:
    return [a.info["frame_hash"] for a in frames(path)]


def test_the_effective_configuration_and_the_log_are_kept(finished: Path, capsys) -> None:
    root = finished / "run"
    assert run(finished) == 0  # other tests run it with other limits
    written = load_config(root / "config.yaml", LoopConfig)
    assert written == load_config(finished / "loop.yaml", LoopConfig)
    assert "gradient_clip: 10.0" in (root / "config.yaml").read_text()  # a default
    kept = (root / "config.yaml").read_bytes()
    refuse(capsys, finished, "holds a loop with another", ("seed: 1", "seed: 2"))
    write_config(finished)
    assert (root / "config.yaml").read_bytes() == kept
    log = (root / "log.txt").read_text()
    for line in ("torch", "round-01/tune", "stopped: ", "frames: "):  # stages, and what they say
        assert line in log
    for stage in ("classical", "campaign/labels", "round-00/member-1"):
        assert (root / stage / "config.yaml").is_file()
        assert (root / stage / "log.txt").is_file()


def test_every_round_leaves_its_picks_models_and_figures(finished: Path) -> None:
    root = finished / "run"
    picked: list[str] = []
    for number, n in ((0, 6), (1, 4)):
        folder = root / f"round-{number:02d}"
        new = keys(folder / "picks.extxyz")
        assert len(new) == n
        assert not set(new) & set(picked)
        picked += new
        assert keys(folder / "labelled.extxyz") == picked
        for member in range(2):
            _, manifest = load_model(folder / f"member-{member}" / "potential.safetensors")
            assert manifest.level_of_theory == "EMT"
            assert manifest.training["method"] == "autotune"
            assert manifest.training["n_train"] + manifest.training["n_validation"] == len(picked)
        assert (folder / "parity.png").is_file()
    for name in ("loop.png", "report.html", "rounds.csv"):
        assert (root / name).stat().st_size > 0
    rows = read_table(root / "rounds.csv")
    assert [row["round"] for row in rows] == ["pretrained", 0, 1]
    assert [row["labels"] for row in rows] == [0, 6, 10]
    # labels of the right level lower the error of a force field of another depth and width
    assert rows[2]["forces_mae_meV_per_A"] < rows[0]["forces_mae_meV_per_A"]


def test_labels_are_those_of_the_engine(finished: Path) -> None:
    for atoms in frames(finished / "run" / "round-01" / "labelled.extxyz"):
        bare = atoms.copy()
        bare.calc = EMT()
        assert atoms.get_potential_energy() == pytest.approx(bare.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(atoms.get_forces(), bare.get_forces(), atol=1e-6)


def test_later_picks_come_from_the_md_and_tests_from_nowhere_else(finished: Path) -> None:
    root = finished / "run"
    candidates = frames(root / "round-00" / "candidates.extxyz")
    assert len(candidates) == 20
    assert all(a.info["force_deviation"] > 0 for a in candidates)
    for atoms in frames(root / "round-01" / "picks.extxyz"):
        distances = [np.abs(atoms.positions - c.positions).max() for c in candidates]
        assert min(distances) < 1e-6
    test = [a.positions for a in frames(root / "test.extxyz")]
    assert len(test) == 5
    seen = frames(root / "source.extxyz") + frames(root / "round-01" / "labelled.extxyz")
    assert len(seen) == 35 + 10
    for positions in test:
        assert min(np.abs(positions - a.positions).max() for a in seen) > 1e-4


def test_members_differ_and_deviation_is_theirs(finished: Path) -> None:
    """The deviation of a candidate, from the two models' own forces."""
    from tpainn_calc import TPaiNNCalculator

    root = finished / "run"
    models = [root / "round-00" / f"member-{k}" / "potential.safetensors" for k in range(2)]
    for atoms in frames(root / "round-00" / "candidates.extxyz")[::7]:
        forces = []
        for model in models:
            bare = atoms.copy()
            bare.calc = TPaiNNCalculator(model)
            forces.append(bare.get_forces())
        spread = np.linalg.norm(forces[0] - forces[1], axis=1) / 2
        assert atoms.info["force_deviation"] == pytest.approx(spread.max(), rel=1e-3)


def test_a_finished_loop_is_not_repeated(finished: Path) -> None:
    root = finished / "run"
    stamps = {p: p.stat().st_mtime_ns for p in root.rglob("*.done.json")}
    assert len(stamps) == 17
    assert run(finished) == 0
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*.done.json")} == stamps


@pytest.mark.parametrize(
    ("stop", "why", "rounds"),
    [
        ("{rounds: 1}", "1 rounds are done (6 labels)", 1),
        ("{rounds: 9, labels: 9}", "the budget of 9 labels is spent (6 labels)", 1),
        ("{rounds: 9, labels: 10}", "the budget of 10 labels is spent (10 labels)", 2),
        ("{rounds: 9, deviation: 100.0}", "the committee is sure", 1),
        ("{rounds: 2, deviation: 0.0}", "2 rounds are done", 2),
    ],
)
def test_what_stops_it(finished: Path, stop: str, why: str, rounds: int) -> None:
    """On what is there already: the criteria alone decide what is looked at."""
    assert run(finished, ("stop: {rounds: 2}", f"stop: {stop}")) == 0
    page = (finished / "run" / "report.html").read_text()
    table = read_table(finished / "run" / "rounds.csv")
    assert run(finished) == 0  # the report of both rounds, for the tests to come
    assert f"Stopped: {why}" in page
    assert len(table) == 1 + rounds


def test_a_trajectory_that_met_the_ceiling_does_not_count_as_sure() -> None:
    from training.loop.run import is_sure

    stop = StopStage(deviation=1.0)
    assert is_sure(stop, {"deviation": 0.5, "ended_early": 0})
    assert not is_sure(stop, {"deviation": 0.5, "ended_early": 1})
    assert not is_sure(StopStage(), {"deviation": 0.0, "ended_early": 0})


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("seed: 1", "seed: 2", "another seed (1, now 2)"),
        ("first: 6", "first: 7", "another pick.first (6, now 7)"),
        ("level: EMT", "level: PBE", "another label.engine.level"),
    ],
)
def test_another_configuration_is_refused(finished: Path, old, new, what, capsys) -> None:
    refuse(capsys, finished, what, (old, new))


def test_another_structure_file_is_refused(finished: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(f"{__name__}.CLUSTER", CLUSTER.replace("2.30", "2.31"))
    refuse(capsys, finished, "another files.start.xyz")


def test_a_file_that_changed_is_refused(finished: Path, capsys) -> None:
    path = finished / "run" / "round-00" / "labelled.extxyz"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"Cu", b"Ni"))
    try:
        refuse(capsys, finished, "has changed since 'label'")
        path.unlink()
        refuse(capsys, finished, "is gone since 'label'")
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("first: 6", "firsst: 6"), "unknown key 'pick.firsst' (did you mean \"first\"?)"),
        (("kind: ase,", "kind: asse,"), "label.engine"),
        (("emt.EMT", "emt.EMTT"), "emt.EMTT"),
        (("test: {frames: 5}", "test: {}"), "test: give either 'frames'"),
        (("start.xyz\n", "gone.xyz\n"), "gone.xyz"),
        (("rounds: 2}", "labels: 3}"), "stop.labels: 3 do not pay for the first round"),
        (("every: 6", "every: 600"), "no frame in 60 steps"),
        (("size: 2", "size: 1"), "committee.size"),
        (("n_features: 32", "n_featurs: 32"), "n_featurs"),
        (("n_features: 32", "seed: 4"), "pick.settings.seed: the loop sets it itself"),
        (("frames: 5}", "files: [none.extxyz]}"), "none.extxyz"),
    ],
)
def test_mistakes_get_one_line(tmp_path: Path, change, what: str, capsys) -> None:
    refuse(capsys, tmp_path, what, change)


def test_labels_from_elsewhere_are_waited_for(tmp_path: Path, capsys) -> None:
    """The loop stops, `tpainn-train label` does its share, the loop goes on."""
    where = ("stress: false}", "stress: false}\n  where: elsewhere")
    changes = (
        where,
        GIVEN_TEST,
        ("rounds: 2", "rounds: 1"),
    )
    labelled_cluster(tmp_path / "test.extxyz")
    assert run(tmp_path, *changes) == 3
    assert "6 frames of" in capsys.readouterr().out
    engine = tmp_path / "engine.yaml"
    engine.write_text(
        "engine: {kind: ase, calculator: ase.calculators.emt.EMT, level: EMT, stress: false}\n"
    )
    campaign = tmp_path / "run" / "campaign"
    words = ["label", "--quiet", "--engine", str(engine), str(campaign)]
    assert main([*words, "--share", "0/2"]) == 0
    assert run(tmp_path, *changes) == 3
    assert "3 frames of" in capsys.readouterr().out
    assert main([*words, "--share", "1/2"]) == 0
    assert run(tmp_path, *changes) == 0
    assert read_table(tmp_path / "run" / "rounds.csv")[1]["labels"] == 6


def labelled_cluster(path: Path) -> None:
    """Write a few labelled frames, to be tested on."""
    (path.parent / "start.xyz").write_text(CLUSTER)
    rng = np.random.default_rng(3)
    found = []
    for _ in range(4):
        atoms = ase.io.read(path.parent / "start.xyz")
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_forces()
        found.append(atoms)
    ase.io.write(path, found, format="extxyz")


def test_the_pool_may_carry_labels_of_another_level(tmp_path: Path) -> None:
    labels = "labels: {kind: ase, calculator: ase.calculators.emt.EMT, level: cheap EMT}"
    path = write_config(tmp_path, ("    level: Morse\n", f"    level: Morse\n    {labels}\n"))
    (tmp_path / "run").mkdir()
    loop = Loop(load_config(path, LoopConfig), tmp_path, tmp_path / "run", progress=False)
    assert loop.classical_level == "cheap EMT"
    assert loop._make_pool().results == {"frames": 35, "level": "cheap EMT"}
    for atoms in frames(tmp_path / "run" / "source.extxyz")[::10]:
        assert (atoms.info["level"], atoms.info["sampled_with"]) == ("cheap EMT", "Morse")
        energy = atoms.get_potential_energy()
        atoms.calc = EMT()
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)


MORSE_IN_LAMMPS = """\
units metal
read_data ${data}
mass 1 63.546
pair_style morse 6.0
pair_coeff * * 0.5 1.6666667 2.4
"""


def write_copper(folder: Path) -> ase.Atoms:
    """Write a rattled crystal as the structure, and labelled by EMT as the test set."""
    copper = bulk("Cu", cubic=True) * (2, 2, 2)
    copper.rattle(0.05, seed=1)
    ase.io.write(folder / "copper.xyz", copper, format="extxyz")
    copper.calc = EMT()
    copper.get_forces()
    ase.io.write(folder / "test.extxyz", copper, format="extxyz")
    return copper


def test_periodic_frames_are_sampled_by_lammps(tmp_path: Path, monkeypatch) -> None:
    """The pool too; and the deviation file is that of the calculator."""
    from training.loop.committee import committee, largest_deviation

    ase.io.write(tmp_path / "copper.data", write_copper(tmp_path), format="lammps-data")
    (tmp_path / "in.morse").write_text(MORSE_IN_LAMMPS)
    begin, end = CONFIG.index("    kind: calculator"), CONFIG.index("    frames: 40")
    changes = [
        (
            CONFIG[begin:end],
            "    kind: lammps\n    input: in.morse\n    data: [copper.data]\n    level: Morse\n",
        ),
        ("    sampling: langevin\n    temperature: 400\n", "    temperatures: [400]\n"),
        ("frames: 40", "frames: 12"),
        ("spacing: 0.02", "spacing: 0.02\n    equilibration: 0.02"),
        ("first: 6", "first: 4"),
        GIVEN_TEST,
        ("rounds: 2", "rounds: 1"),
        ("stress: false", "stress: true"),
        ("steps: 60", "steps: 12"),
    ]
    assert run(tmp_path, *changes) == 0
    root = tmp_path / "run" / "round-00"
    candidates = frames(root / "candidates.extxyz")
    assert len(candidates) == 4
    assert "stress" in frames(root / "labelled.extxyz")[0].calc.results
    models = [root / f"member-{k}" / "potential.safetensors" for k in range(2)]
    calculator = committee(models, "cpu")
    for atoms in candidates:
        assert atoms.pbc.all()
        spread = calculator.batch([atoms])[0]["forces_std"]
        expected = largest_deviation(spread, 2)
        assert atoms.info["force_deviation"] == pytest.approx(expected, rel=2e-3)
    script = (root / "md" / "run-00" / "in.lammps").read_text()
    assert "pair_coeff      * * ../member-0.pt ../member-1.pt Cu" in script


def test_trajectories_from_elsewhere_are_waited_for(tmp_path: Path, capsys) -> None:
    """The loop stops, LAMMPS runs as the line says, one run breaks; the loop goes on with both."""
    write_copper(tmp_path)
    changes = [
        ("start.xyz", "copper.xyz"),
        ("frames: 40", "frames: 12"),
        ("first: 6", "first: 4"),
        GIVEN_TEST,
        ("rounds: 2", "rounds: 1"),
        ("steps: 60", "steps: 24"),
        ("ceiling: 50.0", "ceiling: 1.0e+9, where: elsewhere"),
    ]
    assert run(tmp_path, *changes) == 3
    assert "2 trajectories wait" in capsys.readouterr().out
    md = tmp_path / "run" / "round-00" / "md"
    lammps = [str(Path(sys.executable).parent / "tpainn-lammps"), "run", "in.lammps"]
    subprocess.run(lammps, cwd=md / "run-00", check=True, capture_output=True)
    assert run(tmp_path, *changes) == 3
    assert f"1 trajectories wait, for 'tpainn-lammps run in.lammps' in each of {md / 'run-01'}" in (
        capsys.readouterr().out
    )
    script = md / "run-01" / "in.lammps"
    text = script.read_text()
    script.write_text(text.replace("run             24", "run 12\ntimestep 1.0e3\nrun 12"))
    assert subprocess.run(lammps, cwd=md / "run-01", capture_output=True).returncode
    assert run(tmp_path, *changes) == 0
    record = json.loads((tmp_path / "run" / "round-00" / "md.done.json").read_text())
    assert record["results"]["ended_early"] == 1
    assert record["results"]["reasons"][0].startswith("ERROR")
    assert record["results"]["frames"] >= 4 + 2


def test_seeds_are_those_that_lammps_takes(tmp_path: Path) -> None:
    for seed in (1, 899_000_000, 2**31 - 2):
        start = Start(bulk("Cu", cubic=True), 300.0, seed)
        prepare(MDStage(), start, [], tmp_path / str(seed))
        words = (tmp_path / str(seed) / "in.lammps").read_text().split()
        (found,) = {int(words[words.index(w) + n]) for w, n in (("create", 2), ("langevin", 4))}
        assert 1 <= found <= 899_000_000


def test_molecules_for_lammps_are_refused_before_anything_is_trained(tmp_path: Path, capsys):
    refuse(capsys, tmp_path, "periodic in three", ("ceiling: 50.0", "where: elsewhere"))
    assert not (tmp_path / "run" / "pretrained").exists()


def test_killed_at_random_points_it_ends_with_the_same_campaign(tmp_path: Path) -> None:
    """Twelve SIGKILLs: at files that are put in place, before and after, and by the clock.

    The share of the clock is taken from the processor time of a calm run, which other work does
    not lengthen: together the killed ones get through two thirds of the loop at most.
    """
    results = {}
    seconds = 0.0
    for name, kills in (("calm", 0), ("killed", 12)):
        folder = tmp_path / name
        folder.mkdir()
        labelled_cluster(folder / "test.extxyz")
        write_config(folder, GIVEN_TEST)
        driver = Path(__file__).with_name("loop_driver.py")
        command = [sys.executable, str(driver), "loop.yaml", str(kills), "5", str(seconds / 8)]
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        killed, took, *_ = done.stdout.split()
        seconds = float(took)
        assert int(killed) == kills, done.stdout
        results[name] = summary(folder / "run")
    assert results["calm"] == results["killed"]


def summary(root: Path) -> dict[str, object]:
    """All that must not depend on when a loop was killed."""
    manifest = json.loads((root / "campaign" / "manifest.json").read_text())
    picks = [(e["key"], e["round"], e["order"], e["quality"]) for e in manifest["entries"]]
    weights = {}
    for model in sorted(root.glob("round-*/member-*/*.safetensors")):
        potential, _ = load_model(model)
        state = {k: v.flatten().tolist() for k, v in potential.state_dict().items()}
        weights[str(model.relative_to(root))] = state
    assert len(weights) == 4
    return {
        "picks": picks,
        "labels": [(root / f"round-{k:02d}" / "labelled.extxyz").read_bytes() for k in (0, 1)],
        "candidates": [
            (root / f"round-{k:02d}" / "candidates.extxyz").read_bytes() for k in (0, 1)
        ],
        "rounds": (root / "rounds.csv").read_text(),
        "weights": weights,
    }
