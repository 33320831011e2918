"""The examples that ship with the repository fit the code beside them."""

from pathlib import Path

import numpy as np
import pytest

from examples.water.own.compare import LEVEL, arms_of
from examples.water.own.convergence.config import ConvergenceConfig
from examples.water.own.pack import DATA, FRAMES
from examples.water.own.sample import SamplingConfig
from tpainn_calc.base.frames import results_of
from tpainn_calc.base.schema import Section, load_config
from tpainn_calc.modelfile import load_model
from training.classical.config import ClassicalConfig
from training.data.frames import read_frames
from training.distill.config import DistillConfig
from training.fit import fit
from training.fit.config import AutotuneConfig, TrainingConfig
from training.fit.evaluation import evaluate
from training.labels.engines.config import load_engine
from training.loop.config import LoopConfig
from training.study.config import CurveConfig
from training.teachers.config import TeachersConfig

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))
SCHEMAS: dict[str, type[Section]] = {
    "autotune": AutotuneConfig,
    "classical": ClassicalConfig,
    "convergence": ConvergenceConfig,
    "curve": CurveConfig,
    "demo": LoopConfig,
    "distill": DistillConfig,
    "final": AutotuneConfig,
    "longer": CurveConfig,
    "middle": AutotuneConfig,
    "pool": ClassicalConfig,
    "pretrain": TrainingConfig,
    "pretrain-walls": AutotuneConfig,
    "sampling": SamplingConfig,
    "scratch": TrainingConfig,
    "teachers": TeachersConfig,
    "tune": AutotuneConfig,
    "walls": ClassicalConfig,
}
# of the active learning, and those below
OTHERS = {"benchmark", "converged", "designs", "engine", "tuning"}


@pytest.mark.parametrize(
    "path",
    [p for p in EXAMPLES if p.stem not in OTHERS],
    ids=lambda p: str(p.relative_to(ROOT / "examples")),
)
def test_configurations_fit_their_schema(path):
    load_config(path, SCHEMAS[path.stem.removeprefix("full-")])


@pytest.mark.parametrize("name", ["engine", "converged"])
def test_the_engines_of_our_own_sets_are_cp2k(name):
    assert load_engine(str(ROOT / f"examples/water/own/{name}.yaml")).kind == "cp2k"


@pytest.fixture(scope="module")
def own():
    frames, rejected = read_frames(FRAMES, LEVEL)
    assert rejected == []
    return frames


def test_our_own_set_is_fully_labelled_water(own):
    for atoms in own:
        assert atoms.get_chemical_formula() == "H64O32"
        found = results_of(atoms)
        assert found["stress"].shape == (6,)
        assert np.abs(found["forces"].sum(axis=0)).max() < 1e-6  # the grid's net force is removed
    assert len({atoms.info["frame_hash"] for atoms in own}) == len(own)


def test_no_arm_trains_on_what_it_is_tested_on(own):
    tested = []
    for arm in arms_of(own):
        for fold, test in arm.tests:
            assert not set(test) & set(arm.order)
            if arm.name == "random":
                tested += [(fold, i) for i in test]
                assert set(arm.train(5, seed=0)) < set(arm.train(9, seed=0))
    assert sorted(i for _, i in tested) == [
        k for k, atoms in enumerate(own) if atoms.info["arm"] == "random"
    ]


def test_the_classical_model_is_tuned_on_our_own_set(own, tmp_path):
    config = load_config(ROOT / "examples/water/own/autotune.yaml", AutotuneConfig)
    short = {"max_steps": 60, "validate_every": 30, "warmup_steps": 5, "ema_decay": 0.5}
    config = config.model_copy(
        update={
            "output": str(tmp_path / "run"),
            "optimizer": config.optimizer.model_copy(update=short),
        }
    )

    model = fit(config, ROOT, progress=False)
    before, _ = load_model(DATA / "water-iamoeba.safetensors")
    after, manifest = load_model(model)
    some = own[:8]
    error = {p: evaluate(m, some).summary() for p, m in (("before", before), ("after", after))}
    assert error["after"]["forces_meV_per_A_mae"] < 0.7 * error["before"]["forces_meV_per_A_mae"]
    assert LEVEL in manifest.reference_energies
