"""Asking the Hugging Face hub: whatever its clients raise becomes one clear line."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import HTTPError

from unlearning.jobs.errors import InputError, first_line


@contextmanager
def asking(what: str, instead: str) -> Iterator[None]:
    """Call the hub within this block.

    Args:
        what: is asked for.
        instead: what the user can give in place of it.

    Raises:
        InputError: it cannot be reached, lacks it, breaks off, or what came is no such thing.
    """
    try:
        yield
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{what}: cannot be downloaded ({first_line(error)}); try again, or give {instead}"
        ) from None
