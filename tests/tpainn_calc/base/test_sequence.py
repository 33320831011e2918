"""Sequences of frames that are read one by one."""

from __future__ import annotations

import pytest
from ase import Atoms

from tpainn_calc.base.frames import FrameSequence


class Hydrogens(FrameSequence):
    """Frame k is k hydrogen atoms; frame 3 is damaged."""

    def __len__(self) -> int:
        return 5

    def read(self, index: int) -> Atoms:
        return Atoms(f"H{index}") if index != 3 else [][index]


def test_frames_by_number_and_by_slice():
    frames = Hydrogens()
    assert len(frames[4]) == len(frames[-1]) == 4
    assert [len(atoms) for atoms in frames[:3]] == [0, 1, 2]
    assert [len(atoms) for atoms in frames.take([4, 0])] == [4, 0]
    for beyond in (5, -6):
        with pytest.raises(IndexError, match=f"frame {beyond} of 5"):
            frames[beyond]


def test_an_index_error_of_a_frame_is_not_the_end():
    with pytest.raises(IndexError, match="list index"):
        list(Hydrogens())
