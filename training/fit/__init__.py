"""Training runs: from a configuration and labelled frames to a model file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.fit.run import fit

__all__ = ["fit"]


def __getattr__(name: str) -> Any:
    # torch and lightning are loaded with the first run, not with a configuration that is read
    if name != "fit":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from training.fit.run import fit

    return fit
