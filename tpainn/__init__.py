"""T-PaiNN by its obvious name: ``import tpainn`` hands on the public names of ``tpainn_calc``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tpainn_calc
from tpainn_calc import __all__
from tpainn_calc import __version__ as __version__

if TYPE_CHECKING:
    from tpainn_calc import *  # noqa: F403


def __getattr__(name: str) -> Any:
    # torch is loaded with the first name that needs it
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(tpainn_calc, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
