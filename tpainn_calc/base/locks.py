"""One process at a time."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tpainn_calc.base.errors import BusyError

_log = logging.getLogger(__name__)

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class Lock:
    """A lock on a file, held by this process until it leaves the ``with`` block or ends.

    The kernel drops the lock however the process ends, so that a killed run leaves nothing to
    clean up.

    Parameters
    ----------
    path : path
        Created, with its folder; the number of the process that holds the lock is in it.
    busy : str
        What to tell whoever comes second; ``{holder}`` stands for the number of the process.
    shared : bool
        Hold it together with others that ask for it shared, and with none that does not.
    patience : float
        Wait so many seconds before giving up; ``math.inf`` waits as long as it takes.

    Raises
    ------
    BusyError
        On entry, if another process holds it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        busy: str,
        *,
        shared: bool = False,
        patience: float = 0.0,
    ) -> None:
        self.path = Path(path)
        self.busy = busy
        self.shared = shared
        self.patience = patience

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._wait()
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(self._descriptor)
            raise
        return self

    def _wait(self) -> None:
        how = fcntl.LOCK_SH if self.shared else fcntl.LOCK_EX
        deadline = time.monotonic() + self.patience
        while True:
            try:
                fcntl.flock(self._descriptor, how | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(self._descriptor, 32, 0).decode().strip() or "unknown"
                    # not `format`: a path in the message may hold braces
                    raise BusyError(self.busy.replace("{holder}", holder)) from None
                time.sleep(0.05)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                # some file systems of clusters have none: better a warning than no work
                _log.warning(
                    "%s: this file system has no locks (%s); see to it yourself that one process "
                    "at a time works here",
                    self.path.parent,
                    error.strerror,
                )
                return
            else:
                return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)
