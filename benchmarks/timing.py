"""How a call is timed, the same for every code; needs nothing but Python."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median


def median_ms(call: Callable[[], object], seconds: float = 5.0, warm_up: int = 3) -> float:
    """Median wall time of a call in ms, over as many calls as fit in `seconds` (5 at least)."""
    for _ in range(warm_up):
        call()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < 5 or (time.perf_counter() - begin < seconds and len(times) < 200):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * median(times)
