"""The order in which frames are drawn: endless shuffled passes that a resumed run repeats."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class StreamSampler(Sampler[int]):
    """Endless shuffled passes over the data, cut into rounds of equal length.

    Round r always draws the same indices for a given seed, whatever happened before: a run that
    is resumed at the start of a round sees the data as if it had never stopped.

    Parameters
    ----------
    n : int
        Number of frames.
    per_round : int
        Frames drawn per round (the trainer's "epoch").
    seed : int
    n_replay : int
        Further frames, with indices from `n` on, that are mixed in.
    replay : float
        Share of the draws that goes to them, evenly spread.
    rank, processes : int
        Draw only what process `rank` out of so many takes: every `processes`-th index.
    """

    def __init__(
        self,
        n: int,
        per_round: int,
        seed: int,
        n_replay: int = 0,
        replay: float = 0.0,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.n = n
        self.per_round = per_round
        self.seed = seed
        self.n_replay = n_replay
        self.replay = replay if n_replay else 0.0
        self.rank = rank
        self.processes = processes
        self.round = 0

    def set_round(self, number: int) -> None:
        """Choose the round that the next iteration runs through."""
        self.round = number

    def __len__(self) -> int:
        return self.per_round // self.processes

    def __iter__(self) -> Iterator[int]:
        own = _Passes(self.n, (self.seed,))
        replayed = _Passes(self.n_replay, (self.seed, 1))
        first = self.round * self.per_round
        for position in range(first + self.rank, first + self.per_round, self.processes):
            before = int(position * self.replay)
            if int((position + 1) * self.replay) > before:
                yield self.n + replayed.index(before)
            else:
                yield own.index(position - before)


class _Passes:
    """Shuffled passes over n items, one after another; any position can be asked for."""

    def __init__(self, n: int, seed: tuple[int, ...]) -> None:
        self.n = n
        self.seed = seed
        self.number = -1

    def index(self, position: int) -> int:
        number, place = divmod(position, self.n)
        if number != self.number:
            self.number = number
            self.order = np.random.default_rng((*self.seed, number)).permutation(self.n)
        return int(self.order[place])
