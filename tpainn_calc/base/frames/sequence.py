"""Frames that stay where they are until they are asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from ase import Atoms


class FrameSequence(Sequence[Atoms]):
    """Sequence whose frames are read one by one: a subclass has ``__len__`` and `read`."""

    @abstractmethod
    def read(self, index: int) -> Atoms:
        """Frame by number, from 0 to ``len(self) - 1``."""

    def take(self, indices: Iterable[int]) -> list[Atoms]:
        """Frames by number, in the order that is asked for."""
        return [self.read(int(k)) for k in indices]

    @overload
    def __getitem__(self, index: int) -> Atoms: ...
    @overload
    def __getitem__(self, index: slice) -> list[Atoms]: ...
    def __getitem__(self, index: int | slice) -> Atoms | list[Atoms]:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        return self.read(int(index) % len(self))

    def __iter__(self) -> Iterator[Atoms]:
        # not that of Sequence, which takes any IndexError of a damaged frame for the end
        return (self.read(k) for k in range(len(self)))
