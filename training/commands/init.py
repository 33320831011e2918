"""``tpainn-train init``: a commented configuration to begin with."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from tpainn_calc.base.errors import ConfigError

#: Kinds of configuration, each with what is done next.
KINDS = {
    "scratch": "tpainn-train scratch {}",
    "classical": "tpainn-train classical {}",
    "pretrain": "tpainn-train pretrain {}",
    "autotune": "tpainn-train autotune {}",
    "curve": "tpainn-train curve {}",
    "loop": "tpainn-train loop {}",
    "teachers": "tpainn-train teachers {}",
}


def template(kind: str) -> str:
    """Text of the configuration of a kind."""
    path = files("training.commands") / "templates" / f"{kind}.yaml"
    return path.read_text(encoding="utf-8")


def init(kind: str, path: Path | None = None) -> str:
    """Write a configuration, and say what to do with it.

    Parameters
    ----------
    kind : str
        One of :data:`KINDS`.
    path : Path, optional
        ``KIND.yaml`` by default.

    Raises
    ------
    ConfigError
        If the file exists.
    """
    target = path if path is not None else Path(f"{kind}.yaml")
    text = template(kind)
    try:
        with target.open("x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError:
        raise ConfigError(f"{target} exists; choose another name by -o") from None
    return f"{target} written; edit it, then: {KINDS[kind].format(os.fspath(target))}"
