"""One process at a time on one campaign."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from seedselect.errors import SeedSelectError


class CampaignLock:
    """An exclusive lock on a campaign directory.

    The kernel drops the lock when the process ends, however it ends, so that a killed run leaves
    nothing to clean up.

    Parameters
    ----------
    directory : path
        Created when missing.

    Raises
    ------
    SeedSelectError
        On entry, if another process holds the lock.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)

    def __enter__(self) -> CampaignLock:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self.directory / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._descriptor, 32).decode().strip() or "unknown"
            os.close(self._descriptor)
            raise SeedSelectError(
                f"{self.directory}: process {holder} is working on this campaign; wait for it to "
                "end and try again"
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)
