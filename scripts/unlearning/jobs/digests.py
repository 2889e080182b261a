"""Digests of the user's files: large ones are read again only when they may have changed."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from unlearning.jobs.files import write_json


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of_files(paths: Iterable[Path], cache: Path) -> str:
    """One SHA-256 of several files, their names and contents.

    Args:
        paths: the files.
        cache: JSON of what was read before. A file whose size, inode and times of change are as
            they were then is not read again: weights are large, and every start asks.
    """
    try:
        known = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    before, whole = dict(known), hashlib.sha256()
    for path in sorted(paths):
        status = path.stat()
        state = [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
        if known.get(str(path), {}).get("state") != state:
            known[str(path)] = {"state": state, "sha256": digest_of(path)}
        whole.update(f"{known[str(path)]['sha256']}  {path.name}\n".encode())
    if known != before:
        write_json(known, cache)
    return whole.hexdigest()


def weights_of(folder: Path | str) -> dict[str, str]:
    """Digests of a model folder's weights: name of each safetensors file -> SHA-256."""
    return {path.name: digest_of(path) for path in sorted(Path(folder).glob("*.safetensors"))}
