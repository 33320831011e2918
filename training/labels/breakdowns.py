"""Failed frames, told from an engine that does not work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tpainn_calc.base.errors import TPaiNNError
from training.labels.engine_process import Failure
from training.labels.engines.contract import Label

#: The engine is given up after this many breakdowns in a row.
MAX_BREAKDOWNS = 3


class LabelError(TPaiNNError):
    """Labelling cannot go on; what was labelled is kept."""


def settle(
    outcomes: Iterable[tuple[str, Label | Failure]],
) -> Iterator[tuple[str, Label | str]]:
    """Turn what engines say into labels, and the reasons of frames without one.

    A frame on which the engine breaks down has failed once the engine works on another. Until
    then it may be that the engine does not work at all, and the frame stays open.

    Parameters
    ----------
    outcomes : iterable of (key, Label or Failure)

    Yields
    ------
    key : str
    Label or str
        The reason, in one line, where there is no label.

    Raises
    ------
    LabelError
        After `MAX_BREAKDOWNS` breakdowns in a row, if there was nothing else, or if nothing more
        can be done on this machine.
    """
    broken: dict[str, str] = {}
    works = False
    for key, outcome in outcomes:
        if isinstance(outcome, Failure) and outcome.kind == "stop":
            raise LabelError(f"{outcome.reason}; labels are kept: run again when this is mended")
        if isinstance(outcome, Failure) and outcome.kind == "crashed":
            broken[key] = outcome.reason
            if len(broken) == MAX_BREAKDOWNS:
                raise LabelError(
                    f"{outcome.reason} ({MAX_BREAKDOWNS} frames in a row); labels are kept: "
                    "repair the engine and run again"
                )
            continue
        works = True
        yield from broken.items()
        broken = {}
        yield key, outcome if isinstance(outcome, Label) else outcome.reason
    if broken and not works:
        n = len(broken)
        raise LabelError(
            f"{next(iter(broken.values()))} ({n} of {n} frames); repair the engine and run again"
        )
    yield from broken.items()
