"""The loop of a long job over its parts, kept in a side folder so that a killed job resumes.

A workflow engine deletes the outputs of a job that was cut. What the job had finished therefore
stands elsewhere, under a fingerprint of everything that decides the result: parts made from other
inputs, other settings or other code are never taken.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from unlearning.jobs.files import remove, replacing, write_parquet
from unlearning.jobs.locks import work_alone
from unlearning.jobs.progress import progress

if TYPE_CHECKING:
    import pandas as pd

Part = TypeVar("Part")


def fingerprint(settings: Any, inputs: Iterable[Path | str]) -> str:
    """SHA-256 over settings (anything JSON can hold) and the contents of files and folders."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in map(Path, inputs):
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


class Parts:
    """The side folder of one job.

    A part is a folder that its maker moves into place whole (`unlearning.jobs.files`), so what is
    there is complete.
    """

    def __init__(self, folder: Path | str, key: str):
        """Open `folder` for the fingerprint `key`; parts under any other key are dropped."""
        self._folder = Path(folder)
        self._mine = self._folder / key[:20]
        for other in self._folder.glob("*"):
            if other != self._mine:
                remove(other)
        self._mine.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Where the part `name` stands or will stand."""
        return self._mine / name

    def has(self, name: str) -> bool:
        """Whether the part `name` is finished."""
        return self.path(name).exists()

    def read(self, table: str, names: Iterable[str]) -> "pd.DataFrame":
        """The parts' tables of one name under each other, in this order."""
        import pandas as pd

        read = [pd.read_parquet(self.path(name) / f"{table}.parquet") for name in names]
        return pd.concat(read, ignore_index=True)

    def close(self) -> None:
        """Delete all parts: the job's outputs are written."""
        remove(self._folder)


@dataclass(frozen=True)
class Made:
    """What is kept of a finished part.

    Attributes:
        tables: by name.
        save: writes what else there is into the part's folder.
    """

    tables: Mapping[str, "pd.DataFrame"]
    save: Callable[[Path], None] = lambda folder: None


def work_through(
    parts: Mapping[str, Part],
    make: Callable[[Part], Made],
    work: Path,
    key: str,
    *,
    label: str = "",
    first: bool = True,
    meet: Callable[[], None] = lambda: None,
) -> Parts:
    """Make the parts that are not finished yet, one by one.

    Args:
        parts: name of each part -> what it is made of, in order.
        make: makes one.
        work: the side folder; no other process works in it before this one ends.
        key: its fingerprint.
        label: shown beside the progress bar.
        first: whether this is the first of the processes that work together: it alone writes.
        meet: waits until all of them are here.

    Returns:
        The side folder, all parts in it. Close it when the outputs are written.
    """
    if first:
        work_alone(work)
    else:  # the first one clears away what is of other inputs
        meet()
    done = Parts(work, key)
    if first:
        meet()
    for name, part in progress(parts.items(), desc=label, unit="part"):
        finished = done.has(name)
        meet()  # all have looked before the first one writes
        if not finished:
            made = make(part)
            if first:
                with replacing(done.path(name)) as folder:
                    made.save(folder)
                    for table, rows in made.tables.items():
                        write_parquet(rows, folder / f"{table}.parquet")
        meet()
    return done
