"""Libraries of the extra ``tpainn[classical]``."""

from __future__ import annotations

import importlib.util

from tpainn_calc.base.errors import ConfigError


def need(module: str, who: str) -> None:
    """Refuse to go on without a library.

    Raises
    ------
    ConfigError
        With the extra that installs it.
    """
    if importlib.util.find_spec(module) is None:
        raise ConfigError(f"{who} needs {module}: pip install 'tpainn[classical]' (or: {module})")
