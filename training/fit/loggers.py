"""Reports of a run's progress beside ``metrics.csv``: TensorBoard, Weights & Biases."""

from __future__ import annotations

from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tpainn_calc.base.errors import ConfigError

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


def check_logger(name: Literal["tensorboard", "wandb"] | None) -> None:
    """Refuse a logger that is not installed.

    Raises
    ------
    ConfigError
    """
    if name is not None and find_spec(name) is None:
        raise ConfigError(f"logger: {name} is not installed; pip install 'tpainn[{name}]'")


def make_logger(
    name: Literal["tensorboard", "wandb"] | None, output: Path, title: str
) -> Logger | bool:
    """Lightning's logger of that name, or False for none.

    Parameters
    ----------
    name : {"tensorboard", "wandb"}, optional
    output : Path
        Folder of the run; TensorBoard reads ``output/tensorboard``, Weights & Biases keeps its
        files in ``output/wandb`` and continues the same run after a resume.
    title : str
        Project of Weights & Biases.
    """
    if name == "tensorboard":
        from lightning.pytorch.loggers import TensorBoardLogger

        return TensorBoardLogger(output, name="tensorboard", version="")
    if name == "wandb":
        from lightning.pytorch.loggers import WandbLogger

        folder = output.resolve()
        # of the whole path: folders of one name are not one run
        identity = sha256(str(folder).encode()).hexdigest()[:16]
        return WandbLogger(name=folder.name, id=identity, save_dir=output, project=title)
    return False
