"""Timing of a call, the same for every code; needs nothing but Python."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median


def median_ms(call: Callable[[], object], seconds: float = 5.0, warm_up: int = 3) -> float:
    """Median wall time of a call in ms, over as many calls as fit in `seconds`.

    At least 5 calls; 3 after one call to warm up where a call takes longer than 2 s.
    """
    begin = time.perf_counter()
    call()
    slow = time.perf_counter() - begin > 2.0
    for _ in range(0 if slow else warm_up - 1):
        call()
    fewest = 3 if slow else 5
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < fewest or (time.perf_counter() - begin < seconds and len(times) < 200):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * median(times)


def in_turn(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Median ms of every call, called in turn so that the machine's load hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(3):
        for call in calls.values():
            call()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, times.values())) < 5:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: 1000 * median(values) for name, values in times.items()}
