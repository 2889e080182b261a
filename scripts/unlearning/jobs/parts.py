"""Finished parts of a long job, kept in a side folder so that a killed job resumes.

A workflow engine deletes the outputs of a job that was cut. What the job had finished therefore
stands elsewhere, under a fingerprint of everything that decides the result: parts made from other
inputs, other settings or other code are never taken.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unlearning.jobs.files import remove


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

    A part is a file or folder that its maker moves into place whole (`unlearning.jobs.files`), so
    what is there is complete.
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

    def close(self) -> None:
        """Delete all parts: the job's outputs are written."""
        remove(self._folder)
