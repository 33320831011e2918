"""Read a YAML file against a schema; unknown keys are refused with the closest known one."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from seedselect.errors import SeedSelectError, did_you_mean


class StrictModel(BaseModel):
    """A schema that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid")


Model = TypeVar("Model", bound=StrictModel)


def load_yaml(path: str | Path, model: type[Model]) -> Model:
    """Return the settings of a YAML file.

    Raises
    ------
    SeedSelectError
        One line: the file, the key, what is wrong with it, and the closest known key.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SeedSelectError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SeedSelectError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise SeedSelectError(f"{path}: must hold keys and values, like 'repetitions: 20'")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise SeedSelectError(f"{path}: {_first_fault(error, model)}") from error


def _first_fault(error: ValidationError, model: type[StrictModel]) -> str:
    fault = error.errors()[0]
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key!r}{did_you_mean(str(fault['loc'][-1]), model.model_fields)}"
    return f"{key}: {fault['msg']} (got {fault['input']!r})"
