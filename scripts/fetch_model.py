"""Fetch a model from the Hugging Face hub or from a folder: config, safetensors, tokenizer."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from unlearning.jobs.console import run
from unlearning.jobs.errors import InputError
from unlearning.jobs.files import clone, link, replacing
from unlearning.models.files import WANTED, check_complete, tensors_of
from unlearning.settings import read_settings, settings_class

PAUSE = 1  # seconds between two tries
TRIES = 3  # of a download; what is there already is not asked for again


@settings_class
class Settings:
    """Where the model is."""

    hub: str | None = None
    """Its name on the hub."""

    revision: str | None = None
    """The commit, 40 hexadecimal digits."""

    folder: str | None = None
    """Or the folder it is in."""

    gguf: str | None = None
    """Or the one file that holds all of it."""


def main() -> None:
    """Take the model's files, and no others, into one folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", required=True, help="JSON, see the class Settings")
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    arguments = parser.parse_args()
    settings = read_settings(arguments.settings, Settings)
    source = settings.folder or settings.gguf or settings.hub
    with replacing(arguments.output) as scratch:
        if settings.folder:
            # not linked: what the user writes into his folder later is another model
            take(Path(settings.folder), scratch, clone)
        elif settings.gguf:
            from unlearning.models.gguf import unpack_gguf  # imports torch

            unpack_gguf(settings.gguf, scratch)
        else:
            download(settings.hub, settings.revision, scratch)
        check_complete(scratch, source)
        tensors_of(scratch)  # weights that are cut are named here, not by every job


def take(folder: Path, target: Path, transfer: Callable[[Path, Path], None]) -> None:
    """The model's files of a folder, no others; `transfer` brings one over."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; models.<name>.folder is a path from here")
    target.mkdir()
    for pattern in WANTED:
        for file in sorted(folder.glob(pattern)):
            transfer(file.resolve(), target / file.name)


def download(name: str, revision: str, target: Path) -> None:
    """The files at one commit; a download that was cut goes on where it stopped.

    Raises:
        InputError: the last of several tries failed.
    """
    from huggingface_hub import snapshot_download  # slow to import, and a folder does without

    from unlearning.models.hub import asking

    for rest in reversed(range(TRIES)):
        try:
            with asking(f"{name} at {revision}", "models.<name>.folder"):
                cached = snapshot_download(name, revision=revision, allow_patterns=list(WANTED))
            break
        except InputError as error:
            if not rest:
                raise
            print(error, file=sys.stderr)
            time.sleep(PAUSE)
    take(Path(cached), target, link)


if __name__ == "__main__":
    run(main)
