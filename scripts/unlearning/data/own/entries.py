"""What the rows of a file say: an id, and a text or token ids. No tokenizer is needed yet.

So whatever is wrong with a file is known when the config is read, before a model is fetched.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from unlearning.data.own.files import SEPARATORS, Faults, Row, is_missing, read_table
from unlearning.evaluation.items import check_item
from unlearning.jobs.errors import InputError
from unlearning.settings.own import OwnSettings

LONGEST_ID = 200  # characters: ids stand in tables and cards
WITH_TEXT = ("background",)
"""Parts that take `text` alone."""
LEFT_OUT = {"nan", "none", "null", "<na>", "n/a", "#n/a", "nat"}
"""What programs write where a text is missing."""


@dataclass(frozen=True)
class Entry:
    """One row: its id, where it stands (for messages), and its text or its token ids."""

    name: str
    where: str
    content: str | list[int]


@dataclass(frozen=True)
class Entries:
    """The rows of one file, and how many blank ones were skipped."""

    rows: list[Entry]
    blank: int


def read_entries(part: str, path: str) -> Entries:
    """The rows of a file of sequences.

    Args:
        part: its key under `own`.
        path: the file.

    Raises:
        InputError: rows have neither or both of `text` and `tokens`, a wrong type, characters that
            no tokenizer takes, or an id that another has; all such rows in one line.
    """
    table, faults = read_table(path), Faults(path)
    if table.named and not {"text", "tokens"} & table.named:
        raise InputError(
            f"{path}: no column is called `text` or `tokens`; name it so in the first line, and"
            f" separate columns by {', '.join(SEPARATORS.values())}"
        )
    plain = _written_as_fractions(table.rows)
    places: dict[str, str] = {}
    rows = []
    for row in table.rows:
        try:
            content, name = _content(row, part), _name(row, plain)
            if name in places:
                raise InputError(
                    f"its id is that of {places[name]} (a number and its digits are one id); make"
                    " ids unique"
                )
        except InputError as error:
            faults.add(row.where, str(error))
        else:
            places[name] = row.where
            rows.append(Entry(name, row.where, content))
    faults.check()
    return Entries(rows, table.blank)


def read_own_items(kind: str, path: str) -> list[dict[str, Any]]:
    """The items of a task of the user's.

    Raises:
        InputError: items lack what their kind needs; all in one line.
    """
    faults, items = Faults(path), []
    for row in read_table(path).rows:
        try:
            items.append(check_item(row.values, kind, row.where))
            for value in strings_of(items[-1]):
                _check_characters(value, "a text")
        except InputError as error:
            faults.add(row.where, str(error).removeprefix(f"{row.where}: "))
    faults.check()
    return items


def check_files(settings: OwnSettings, kinds: dict[str, str]) -> int:
    """Read all files as far as it goes without a tokenizer.

    Args:
        settings: which files there are.
        kinds: name of each task -> its kind.

    Returns:
        How many rows there are to be forgotten.

    Raises:
        InputError: a file or a row cannot be used.
    """
    counts = {
        part: len(read_entries(part, path).rows)
        for part, path in settings.files().items()
        if not part.startswith("tasks.")
    }
    for task, path in settings.tasks.items():
        read_own_items(kinds[task], path)
    return counts["forget"]


def _content(row: Row, part: str) -> str | list[int]:
    """The text of a row, or its token ids."""
    found = {key: row.values.get(key) for key in ("text", "tokens")}
    found = {key: value for key, value in found.items() if not is_missing(value)}
    if len(found) != 1:
        raise InputError(
            "has both `text` and `tokens`; give one"
            if found
            else "has no `text` and no `tokens`; name the column so and fill it"
        )
    ((key, value),) = found.items()
    if key == "text":
        if not isinstance(value, str) or not value.strip():
            raise InputError("`text` is no text or an empty one; correct it")
        if value.strip().lower() in LEFT_OUT:
            raise InputError("`text` is a word for a missing one; correct it, or remove the row")
        _check_characters(value, "`text`")
        return value
    if part in WITH_TEXT:
        raise InputError(f"{part} has `text`, not `tokens`")
    if isinstance(value, str):  # a cell of a CSV file
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, list) or not all(type(token) is int for token in value):
        raise InputError("`tokens` is no list of whole numbers, as [5, 17]")
    return value


def _name(row: Row, plain: bool) -> str:
    """The id of a row: its own, or its number."""
    name = row.values.get("id")
    if isinstance(name, float) and name.is_integer():  # pandas, where another row has none
        name = int(name)
    if is_missing(name):
        return f"{row.number:05d}"
    if type(name) not in (str, int) or not str(name).strip():
        raise InputError("`id` is neither a word nor a whole number; correct it")
    name = str(name).strip()
    if len(name) > LONGEST_ID or not name.isprintable():
        raise InputError(
            f"`id` has more than {LONGEST_ID} characters, or some that cannot be printed; give a"
            " short word"
        )
    return name.removesuffix(".0") if plain else name


def _written_as_fractions(rows: list[Row]) -> bool:
    """Whether a CSV file has ids as 1.0 because one is missing: pandas writes whole numbers so."""
    ids = [row.values.get("id") for row in rows]
    given = [name for name in ids if not is_missing(name)]
    return 0 < len(given) < len(ids) and all(
        isinstance(name, str) and re.fullmatch(r"\d+\.0", name.strip()) for name in given
    )


def _check_characters(text: str, what: str) -> None:
    """Refuse what is no text: half a character, or a zero byte."""
    try:
        whole = "\0" not in text
        text.encode("utf-8")
    except UnicodeEncodeError:
        whole = False
    if not whole:
        raise InputError(
            f"{what} has a zero byte or half a character (a lone surrogate); write the file anew"
        )


def strings_of(item: dict[str, Any]) -> list[str]:
    """All texts of an item of a task."""
    values = [value for value in item.values() if isinstance(value, str)]
    return values + [choice for choice in item.get("choices", ()) if isinstance(choice, str)]
