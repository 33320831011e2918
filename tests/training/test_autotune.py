"""Tuning a pretrained model: what changes, what stays, what is refused."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from tpainn_calc.base.schema import load_config
from tpainn_calc.errors import ConfigError, DataError
from tpainn_calc.modelfile import load_model
from training.cli import main
from training.data.batches import FrameDataset
from training.data.frames import read_frames
from training.data.sampler import StreamSampler
from training.fit import fit
from training.fit.config import AutotuneConfig, TrainingConfig
from training.fit.initial import learning_rates
from training.fit.module import PotentialModule
from training.fit.trainer import _replay

TUNE = """\
output: tuned
seed: 3
data: {files: [data.extxyz], level: springs, block: 2, validation: 0.1, test: 0.1, n_train: 20}
model: {name: tuned}
optimizer:
  {learning_rate: 2.0e-3, max_steps: 40, batch_size: 4, validate_every: 20, warmup_steps: 5,
   ema_decay: 0.5}
tune: {layer_decay: 0.5, freeze: [embedding]}
"""


@pytest.fixture
def folder(pretrained: Path, data_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(data_file.parent)
    return data_file.parent


@pytest.fixture
def model(pretrained: Path) -> Path:
    return pretrained / "pretrained" / "springs.safetensors"


def tune_config(text: str = TUNE) -> AutotuneConfig:
    Path("tune.yaml").write_text(text)
    return load_config("tune.yaml", AutotuneConfig)


def test_autotune_refits_the_references_and_keeps_what_is_frozen(
    folder: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tune_config()
    caplog.set_level("INFO")
    assert main(["autotune", "--quiet", "--from", str(model), "tune.yaml"]) == 0
    before, old = load_model(model)
    after, manifest = load_model(folder / "tuned" / "tuned.safetensors")
    assert manifest.training["method"] == "autotune"
    assert manifest.training["start"]["level"] == "cheap"
    assert manifest.training["n_train"] == 20
    assert set(manifest.reference_energies) == {"cheap", "springs"}
    assert manifest.reference_energies["cheap"] == old.reference_energies["cheap"]
    assert torch.equal(before.scale, after.scale)
    for name, weight in before.named_parameters():
        frozen = name.startswith("network.embedding")
        assert torch.equal(weight, after.get_parameter(name)) == frozen, name
    # the table: both levels, and a mean error of -456 eV that is gone
    table = next(r.message for r in caplog.records if "reference energies (eV)" in r.message)
    assert "cheap (before)" in table
    assert "springs (after)" in table
    errors = [float(x) for x in table.splitlines()[3].split()[-2:]]
    assert errors[0] > 100 > 0.1 > errors[1]


def test_resume_gives_the_same_weights(folder: Path, model: Path) -> None:
    expected, _ = load_model(fit(tune_config().starting_from(model), folder, progress=False))
    # stopped at half time: same schedule, and the first of two checkpoints
    config = tune_config(TUNE.replace("output: tuned", "output: stopped"))
    from training.fit import trainer as module

    class Stop(module.MetricsFile):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):  # type: ignore[no-untyped-def]
            if trainer.global_step == 30:
                raise SystemExit

    original, module.MetricsFile = module.MetricsFile, Stop  # type: ignore[misc]
    try:
        with pytest.raises(SystemExit):
            fit(config.starting_from(model), folder, progress=False)
    finally:
        module.MetricsFile = original  # type: ignore[misc]
    got, _ = load_model(fit(config.starting_from(model), folder, resume=True, progress=False))
    for name, weight in expected.state_dict().items():
        assert torch.equal(weight, got.state_dict()[name]), name
    other = folder / "other.safetensors"
    other.write_bytes(fit_copy(model, other))
    with pytest.raises(ConfigError, match="the model or the configuration changed"):
        fit(config.starting_from(other), folder, resume=True, progress=False)


def fit_copy(model: Path, other: Path) -> bytes:
    """The same model under another name: another file."""
    from tpainn_calc.modelfile import save_model

    potential, manifest = load_model(model)
    save_model(other, potential, name="other", level_of_theory=manifest.level_of_theory)
    return other.read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: tuned", "name: tuned, cutoff: 4.0", r"model.cutoff is 4.0, but .* with 3.0"),
        ("name: tuned", "name: tuned, n_features: 16", r"model.n_features is 16, but .* with 8"),
        ("name: tuned", "name: tuned, elements: [H]", r"model.elements is \['H'\], but"),
        ("[embedding]", "[embeding]", "no part 'embeding'; there are embedding, block0, block1"),
        ("[embedding]", "[embedding, block0, block1, readout]", "nothing to train"),
        ("n_train: 20", "n_train: 999", "not n_train = 999"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(
    folder: Path, model: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        fit(tune_config(TUNE.replace(old, new)).starting_from(model), folder, progress=False)


def test_other_elements_and_no_start_are_refused(folder: Path, model: Path) -> None:
    nitrogen = Atoms("N2", positions=[[0, 0, 0], [0, 0, 1.1]])
    nitrogen.calc = SinglePointCalculator(nitrogen, energy=0.0, forces=np.zeros((2, 3)))
    with pytest.raises(ConfigError, match="knows H, O, but the data hold N too"):
        tune_config().starting_from(model).initial_state([nitrogen])
    with pytest.raises(ConfigError, match="no model to start from: give --from"):
        tune_config().initial_state([nitrogen])


def test_rates_fall_with_depth_and_readout_only_trains_the_readout(model: Path) -> None:
    potential, _ = load_model(model)
    config = AutotuneConfig(**_plain_config())
    rates = learning_rates(potential, config.tune.model_copy(update={"layer_decay": 0.5}))
    parts = {name.split(".")[1] + name.split(".")[2][:1]: r for name, r in rates.items()}
    assert parts["output0"] == 1.0
    assert parts["blocks1"] == 0.5
    assert parts["blocks0"] == 0.25
    assert parts["embeddingw"] == 0.125
    only = learning_rates(potential, config.tune.model_copy(update={"readout_only": True}))
    assert {name.split(".")[1] for name, r in only.items() if r > 0} == {"output"}
    groups = (
        PotentialModule(potential.requires_grad_(True), config.loss, config.optimizer, rates)
        .configure_optimizers()["optimizer"]
        .param_groups
    )
    peaks = [g["initial_lr"] for g in groups]
    assert peaks == pytest.approx([1e-3, 5e-4, 2.5e-4, 1.25e-4])


def _plain_config() -> dict[str, object]:
    return {"output": "x", "data": {"files": ["x"]}, "optimizer": {"max_steps": 1}}


def test_replayed_frames_are_moved_to_the_new_references(
    folder: Path, model: Path, pretrained: Path
) -> None:
    replay = (
        f"tune: {{replay: {{files: [{pretrained / 'cheap.extxyz'}], level: cheap, weight: 0.3}}}}"
    )
    config = tune_config(TUNE.split("tune:")[0] + replay)
    frames, _ = read_frames(folder / "data.extxyz", "springs")
    start = config.starting_from(model).initial_state(frames)
    replayed = _replay(config, folder, start)
    assert replayed is not None
    old = start.previous.reference_energies["cheap"] if start.previous else {}
    shift = sum(start.reference.energies[[0, 0, 1]]) - 2 * old["H"] - old["O"]
    batch = replayed[3]
    cheap = ase.io.read(pretrained / "cheap.extxyz", 3)
    assert batch.energy.item() == pytest.approx(cheap.get_potential_energy() + shift)
    assert batch.weight.item() == 0.3
    fit(config.starting_from(model), folder, progress=False)
    wrong = tune_config((TUNE.split("tune:")[0] + replay).replace("level: cheap", "level: PM6"))
    with pytest.raises(ConfigError, match="knows reference energies of 'cheap' only"):
        _replay(wrong, folder, start)


def test_replay_takes_its_share_of_the_stream() -> None:
    sampler = StreamSampler(n=5, per_round=40, seed=0, n_replay=7, replay=0.25)
    drawn = list(sampler)
    assert sum(k >= 5 for k in drawn) == 10
    own = [k for k in drawn if k < 5]
    assert all(sorted(own[5 * p : 5 * p + 5]) == list(range(5)) for p in range(6))
    sampler.set_round(1)
    replayed = [k for k in (*drawn, *sampler) if k >= 5]
    assert len(replayed) == 20
    assert all(sorted(replayed[7 * p : 7 * p + 7]) == list(range(5, 12)) for p in range(2))


def test_energies_alone_need_no_forces_and_no_gradient(
    folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, _ = read_frames(folder / "data.extxyz", "springs")
    bare = []
    for frame in frames:
        atoms = frame.copy()
        atoms.calc = SinglePointCalculator(atoms, energy=frame.get_potential_energy())
        bare.append(atoms)
    ase.io.write("bare.extxyz", bare, format="extxyz")
    text = TUNE.replace("data.extxyz", "bare.extxyz")
    with pytest.raises(DataError, match="no forces"):
        fit(tune_config(text).starting_from(model), folder, progress=False)

    from training.data.run_data import read_run_data

    config = tune_config(text + "loss: {forces: 0.0}\n")
    data = read_run_data(config.data, folder, forces=config.loss.forces > 0)
    start = config.starting_from(model).initial_state(data.part("train"))
    module = PotentialModule(start.potential, config.loss, config.optimizer, start.rates)
    batch = FrameDataset(data.part("train"), start.potential.elements, 3.0)[0]

    def no_gradient(*arguments: object, **options: object) -> None:
        raise AssertionError("a gradient was taken")

    monkeypatch.setattr(torch.autograd, "grad", no_gradient)
    assert module.predict_batch(batch, create_graph=True).forces is None
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    path = fit(config.starting_from(model), folder, progress=False)
    _, manifest = load_model(path)
    assert set(manifest.errors) >= {"energy_meV_per_atom_mae"}
    assert "forces_meV_per_A_mae" not in manifest.errors
    scratch = TrainingConfig(
        **{**_plain_config(), "loss": {"forces": 0.0}, "model": {"n_features": 8, "n_blocks": 1}}
    )
    assert scratch.initial_state(data.part("train")).potential.scale > 0
    with pytest.raises(ConfigError, match="nothing to learn"):
        tune_config(TUNE + "loss: {forces: 0.0, energy: 0.0}\n")


def test_an_anchor_holds_the_weights_near_the_pretrained_ones(folder: Path, model: Path) -> None:
    before = load_model(model)[0].state_dict()
    moved = {}
    for anchor in (0.0, 20.0, 1e6):
        text = TUNE.replace("output: tuned", f"output: anchored{anchor:g}").split("tune:")[0]
        config = tune_config(text + f"tune: {{anchor: {anchor}}}\n").starting_from(model)
        after = load_model(fit(config, folder, progress=False))[0].state_dict()
        weights = [name for name in before if name.startswith("network.")]
        squares = [float((after[name] - before[name]).square().sum()) for name in weights]
        moved[anchor] = sum(squares) ** 0.5
    assert moved[1e6] == 0.0  # pulled all the way back in every step
    assert 0 < moved[20.0] < 0.8 * moved[0.0]


def test_a_step_is_pulled_back_by_rate_times_anchor(folder: Path, model: Path) -> None:
    """Two steps without a gradient: what was moved by hand comes back by its share in each."""
    from types import SimpleNamespace

    potential, _ = load_model(model)
    potential.requires_grad_(True)
    config = tune_config().starting_from(model)
    module = PotentialModule(potential, config.loss, config.optimizer, anchor=5.0)
    first, *others = potential.parameters()
    origin = first.detach().clone()
    groups = [{"lr": 0.02, "params": [first]}, {"lr": 0.0, "params": others}]
    module._trainer = SimpleNamespace(optimizers=[SimpleNamespace(param_groups=groups)])
    with torch.no_grad():
        first += 1.0
    for left in (0.9, 0.81):
        module._pull_back()
        torch.testing.assert_close(first.detach() - origin, torch.full_like(origin, left))


def test_subsets_are_nested(folder: Path) -> None:
    from training.data.run_data import read_run_data

    data = read_run_data(tune_config(TUNE.replace(", n_train: 20", "")).data, folder)
    small, large = (set(data.subset(n, 7).split.train.tolist()) for n in (5, 20))
    assert small < large
    assert small != set(data.subset(5, 8).split.train.tolist())
