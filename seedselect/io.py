"""Another name of `seedselect.frames.atoms`, where frames are read and written."""

from seedselect.frames.atoms import (
    FramePool,
    iter_frames,
    read_frames,
    to_atoms,
    to_frame,
    write_frames,
)

__all__ = ["FramePool", "iter_frames", "read_frames", "to_atoms", "to_frame", "write_frames"]
