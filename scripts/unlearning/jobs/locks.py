"""Locks that end with the process that holds them, however it ends: nothing to unlock by hand."""

import atexit
import errno
import fcntl
import functools
import os
from pathlib import Path

# some cluster file systems are mounted without locks: there is nothing to hold, and work goes on
_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


def hold(path: Path | str, *, wait: bool = True) -> int | None:
    """Lock a file, made if need be, until it is given back or the process ends.

    A child process does not inherit the lock.

    Args:
        path: the lock file.
        wait: wait while another process holds it.

    Returns:
        What `release` takes; None if another process holds the lock and `wait` is false.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # another user's file: to read is enough to lock
        handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
    return handle


def release(handle: int) -> None:
    """Give a lock back."""
    os.close(handle)


def work_alone(folder: Path | str) -> None:
    """Wait until no other process works in a side folder; keep others out until this one ends.

    A killed workflow engine leaves its jobs running. Started again, it starts the same job again,
    which must not share a folder with the first. A second call for the same folder changes nothing.
    """
    _work_alone(Path(folder).resolve())


@functools.cache
def _work_alone(folder: Path) -> None:
    path = folder.with_name(f"{folder.name}.lock")
    while True:
        handle = hold(path)
        # the one before us removes the file when it ends: what we locked may be no file any more
        if path.exists() and path.stat().st_ino == os.fstat(handle).st_ino:
            break
        release(handle)
    atexit.register(path.unlink, missing_ok=True)
