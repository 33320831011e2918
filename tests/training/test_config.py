from pathlib import Path

import pytest

from tpainn_calc.base.schema import load_config
from tpainn_calc.errors import ConfigError
from training.data.paths import expand_path
from training.fit.config import TrainingConfig


def test_reads_a_valid_file(config_file: Path) -> None:
    config = load_config(config_file, TrainingConfig)
    assert config.model.n_features == 8
    assert config.optimizer.learning_rate == 5e-3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 3", "sede: 3", r"unknown key 'sede' \(did you mean \"seed\"\?\)"),
        (
            "n_blocks: 2",
            "nblocks: 2",
            r"unknown key 'model.nblocks' \(did you mean \"n_blocks\"\?\)",
        ),
        ("seed: 3", "seed: three", "seed: .*integer.*'three'"),
        ("max_steps: 60", "max_steps: 0", "optimizer.max_steps: .*greater"),
        ("output: run\n", "", "missing key 'output'"),
        ("cutoff: 3.0", "cutoff: -1", "model.cutoff"),
        ("seed: 3", "seed: [", "not valid YAML"),
        ("  block: 2", "  zzz: 1", "unknown key 'data.zzz'; known: .*'block'"),
    ],
)
def test_one_clear_line_for_every_mistake(
    config_file: Path, old: str, new: str, message: str
) -> None:
    config_file.write_text(config_file.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(config_file, TrainingConfig)
    assert "\n" not in str(caught.value)


def test_missing_file_and_wrong_shape(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "absent.yaml", TrainingConfig)
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="mapping"):
        load_config(tmp_path / "list.yaml", TrainingConfig)


def test_data_folder_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TPAINN_DATA", str(tmp_path))
    assert expand_path("${TPAINN_DATA}/x.xyz", Path("/base")) == tmp_path / "x.xyz"
    monkeypatch.setenv("TPAINN_DATA", str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="set TPAINN_DATA"):
        expand_path("${TPAINN_DATA}/x.xyz", Path("/base"))


def test_every_hyperparameter_can_be_configured(tmp_path: Path) -> None:
    from dataclasses import fields

    from tpainn_calc.hyperparameters import Hyperparameters
    from training.fit.sections import SHAPE, ModelSection, TunedModelSection
    from training.loop.config import PretrainStage

    names = {field.name for field in fields(Hyperparameters)}
    assert set(SHAPE) == names
    for section in (ModelSection, TunedModelSection):
        assert names <= set(section.model_fields)
    assert PretrainStage.model_fields["model"].annotation is ModelSection
    made = Hyperparameters(("H",), **ModelSection().model_dump(include=names - {"elements"}))
    assert made == Hyperparameters(("H",))


def test_norm_epsilon_reaches_the_network(config_file: Path) -> None:
    from tpainn_calc.modelfile import read_manifest
    from training.fit import fit

    text = config_file.read_text().replace("n_basis: 6", "n_basis: 6, norm_epsilon: 0.25")
    config_file.write_text(text.replace("max_steps: 60", "max_steps: 2"))
    path = fit(load_config(config_file, TrainingConfig), config_file.parent, progress=False)
    assert read_manifest(path).hyperparameters["norm_epsilon"] == 0.25
