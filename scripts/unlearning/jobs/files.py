"""Writing results so that a killed job never leaves half a file under a final name."""

import fcntl
import glob
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the Snakefile reads this module: pandas would cost each start a second
    import pandas as pd

FICLONE = 0x40049409
"""Linux's request to let a file share another's blocks until one of them is written."""


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a scratch path beside `path`; move it to `path` only when the block succeeds.

    Works for files and for folders. A folder that stands at `path` is replaced whole. What a
    killed process of this machine left beside `path` is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = f".{path.name}.partial-{socket.gethostname()}-"
    for left in path.parent.glob(f"{glob.escape(stem)}*"):
        if not is_alive(left.name.removeprefix(stem).split(".")[0]):
            remove(left)
    scratch = path.with_name(f"{stem}{os.getpid()}{path.suffix}")
    remove(scratch)
    try:
        yield scratch
        if path.is_dir():
            remove(path)
        os.replace(scratch, path)
    finally:
        remove(scratch)


def is_alive(pid: str) -> bool:
    """Whether a process of this machine has this number."""
    return pid.isdecimal() and Path("/proc", pid).exists()


def link(source: Path | str, target: Path | str) -> None:
    """A hard link where the file system allows it, a copy elsewhere: weights are large."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def clone(source: Path | str, target: Path | str) -> None:
    """A copy that shares no inode with its source, and no disk space where the file system can."""
    with open(source, "rb") as given, open(target, "wb") as taken:
        try:
            fcntl.ioctl(taken.fileno(), FICLONE, given.fileno())
        except OSError:
            shutil.copyfileobj(given, taken, 1 << 24)


def remove(path: Path | str) -> None:
    """Delete a file or a folder, if it is there."""
    path = Path(path)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_parquet(table: "pd.DataFrame", path: Path | str) -> None:
    """Write a table without its index; the same table gives the same bytes."""
    with replacing(path) as scratch:
        table.to_parquet(scratch, index=False)


def write_csv(table: "pd.DataFrame", path: Path | str) -> None:
    """Write a table without its index; `read_csv` gives back every number to the last bit."""
    with replacing(path) as scratch:
        table.to_csv(scratch, index=False)


def read_csv(path: Path | str, **options: object) -> "pd.DataFrame":
    """Read a table as `write_csv` wrote it; the other way of pandas is off in the last digit."""
    import pandas as pd

    return pd.read_csv(path, float_precision="round_trip", **options)


def write_json(value: object, path: Path | str) -> None:
    """Write JSON, indented, keys in the order given, NaN refused."""
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
