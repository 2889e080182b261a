"""The one exception that means: the input is wrong, and here is what to do about it."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input from the user: one line that says what is wrong, where, and what to do.

    Entry points print the line and leave with exit code 2; any other exception is a defect of
    the program and keeps its traceback.
    """

    def __init__(self, line: str):
        """Keep to one line, whatever names the user gives to files."""
        super().__init__(" ".join(line.splitlines()))


def first_line(error: Exception) -> str:
    """What a library's error says, its first line; its name if it says nothing."""
    return str(error).partition("\n")[0] or type(error).__name__


def nearest(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """What to do about a name that does not exist: the nearest one, or which there are.

    Args:
        name: the unknown one.
        known: those that exist.
        otherwise: what to say where none is near; a list of all by default.
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1)  # YAML takes more than words for one
    if near:
        return f"did you mean '{near[0]}'?"
    return otherwise or f"choose one of {', '.join(known)}"
