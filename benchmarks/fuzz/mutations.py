"""Damage to bytes and to text, reproducible by a seed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Rng = np.random.Generator
Mutation = Callable[[bytes, Rng], bytes]

#: What takes the place of a number or a word.
EXTREMES = (
    "nan", "inf", "-inf", "-1", "0", "-0.0", "1e308", "1e-308", "1e200", "1e9", "99999999999",
    "0.02", "1e4", "", "abc", "T", "null", "[]", "{}", "'", '"', "\x00", "é", "../../etc/passwd",
    "1180591620717411303424", "2**70", "1,2,3",
)  # fmt: skip
NUMBER = re.compile(rb"-?\d+\.?\d*(?:[eE][-+]?\d+)?")


def flip_bit(data: bytes, rng: Rng) -> bytes:
    """One bit."""
    place = int(rng.integers(len(data)))
    return data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1 :]


def set_bytes(data: bytes, rng: Rng) -> bytes:
    """A stretch of up to 16 bytes at random."""
    place, size = int(rng.integers(len(data))), int(rng.integers(1, 17))
    return data[:place] + rng.bytes(size) + data[place + size :]


def zero_bytes(data: bytes, rng: Rng) -> bytes:
    """A stretch of up to 4 kB of zeros, such as a crash of the machine leaves."""
    place, size = int(rng.integers(len(data))), int(rng.integers(1, 4097))
    size = min(size, len(data) - place)
    return data[:place] + bytes(size) + data[place + size :]


def truncate(data: bytes, rng: Rng) -> bytes:
    """The beginning alone; sometimes nothing."""
    return data[: int(rng.integers(len(data)))]


def delete(data: bytes, rng: Rng) -> bytes:
    """A stretch of up to 64 bytes is gone."""
    place = int(rng.integers(len(data)))
    return data[:place] + data[place + int(rng.integers(1, 65)) :]


def repeat(data: bytes, rng: Rng) -> bytes:
    """A stretch of up to 256 bytes is there twice."""
    place, size = int(rng.integers(len(data))), int(rng.integers(1, 257))
    return data[: place + size] + data[place:]


def extreme_number(data: bytes, rng: Rng) -> bytes:
    """One number of a text becomes something else."""
    found = list(NUMBER.finditer(data))
    if not found:
        return set_bytes(data, rng)
    match = found[int(rng.integers(len(found)))]
    word = EXTREMES[int(rng.integers(len(EXTREMES)))].encode()
    return data[: match.start()] + word + data[match.end() :]


def line_fault(data: bytes, rng: Rng) -> bytes:
    """One line of a text is dropped, doubled, or changes places with another."""
    lines = data.splitlines(keepends=True)
    a, b = (int(k) for k in rng.integers(len(lines), size=2))
    kind = int(rng.integers(3))
    if kind == 0:
        del lines[a]
    elif kind == 1:
        lines.insert(b, lines[a])
    else:
        lines[a], lines[b] = lines[b], lines[a]
    return b"".join(lines)


BINARY: tuple[Mutation, ...] = (flip_bit, set_bytes, zero_bytes, truncate, delete, repeat)
TEXT: tuple[Mutation, ...] = (
    extreme_number,
    extreme_number,
    extreme_number,
    line_fault,
    set_bytes,
    truncate,
    delete,
    repeat,
)


class Damage:
    """A change that a file may suffer on its way to us.

    Parameters
    ----------
    rng : numpy.random.Generator
        Fixes it.
    sound : bool
        Nothing happens: a command must accept what it gets then.
    """

    def __init__(self, rng: Rng, sound: bool = False) -> None:
        self.rng = rng
        self.sound = sound

    def of(self, data: bytes, mutations: tuple[Mutation, ...]) -> bytes:
        """`data` with one fault, now and then with two; never `data` itself."""
        result = data
        while result == data and not self.sound:
            for _ in range(1 + int(self.rng.random() < 0.2)):
                if result:
                    result = mutations[int(self.rng.integers(len(mutations)))](result, self.rng)
        return result

    def of_json(self, content: dict[str, Any]) -> dict[str, Any]:
        """A JSON object with one leaf changed, removed or replaced by another kind of value.

        Checksums inside are not changed: whoever calls this seals it anew, or leaves it so.
        """
        copy = json.loads(json.dumps(content))
        if self.sound:
            return dict(copy)
        holders = list(_holders(copy))
        holder, key = holders[int(self.rng.integers(len(holders)))]
        values: list[Any] = [
            None, True, -1, 0, 2, 1e300, -5.0, 1e9, 10**30, float("nan"), float("inf"), "", "abc",
            [], {}, [1, 2], "é\x00", 0.02, 10_000,
        ]  # fmt: skip
        if self.rng.random() < 0.15:
            del holder[key]
        else:
            holder[key] = values[int(self.rng.integers(len(values)))]
        return dict(copy)


def _holders(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inside in list(items):
        yield value, key
        if isinstance(inside, dict | list):
            yield from _holders(inside)
