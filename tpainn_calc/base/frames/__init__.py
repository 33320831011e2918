"""Frames: structures with labels, in extended XYZ and in HDF5, for all packages alike."""

from tpainn_calc.base.frames.extxyz import (
    ExtXYZFile,
    iter_extxyz,
    read_extxyz,
    to_extxyz,
    write_extxyz,
)
from tpainn_calc.base.frames.hdf5 import SUFFIX, FrameStore, write_shard
from tpainn_calc.base.frames.results import DISTORTED, attach_results, results_of
from tpainn_calc.base.frames.sequence import FrameSequence
from tpainn_calc.base.frames.sources import checksum, iter_frames, open_frames

__all__ = [
    "DISTORTED",
    "SUFFIX",
    "ExtXYZFile",
    "FrameSequence",
    "FrameStore",
    "attach_results",
    "checksum",
    "iter_extxyz",
    "iter_frames",
    "open_frames",
    "read_extxyz",
    "results_of",
    "to_extxyz",
    "write_extxyz",
    "write_shard",
]
