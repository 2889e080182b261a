"""Rows of the user's files: JSON lines, CSV or Parquet, as programs and spreadsheets write them.

What stands in a row is nobody's business: no message repeats a value, nor the name of a column,
which is a text where a CSV file has no head line. Imports no pandas: the files are read whenever
Snakemake starts.
"""

import codecs
import csv
import io
import json
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unlearning.jobs.errors import InputError

SHOWN = 10
"""So many rows of a file are named in one message."""

# the longer mark begins with the shorter one
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# what stands at the beginning of files that hold others
PACKED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"\xd0\xcf\x11\xe0")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
KNOWN = {"text", "tokens"}


@dataclass(frozen=True)
class Row:
    """One row of a file.

    Attributes:
        number: of its line in JSON lines, of its place in a JSON array, of the row below the head
            line elsewhere; from 1.
        where: file and number, for messages.
        values: by column, names in lower case where that is unambiguous; a column that the row
            leaves out is missing or None.
    """

    number: int
    where: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Table:
    """The rows of one file.

    Attributes:
        rows: those with a value, at least one.
        blank: how many rows of a spreadsheet were skipped because all their cells are blank.
        named: the columns of a spreadsheet, as in `Row.values`; of JSON none.
    """

    rows: list[Row]
    blank: int
    named: frozenset[str] = frozenset()


@dataclass
class Faults:
    """What is wrong with the rows of one file: gathered, and raised together.

    Attributes:
        path: the file.
        found: where -> what is wrong there and what to do; the first fault of each row.
    """

    path: Path | str
    found: dict[str, str] = field(default_factory=dict)

    def add(self, where: str, what: str) -> None:
        """Note a fault of a row."""
        self.found.setdefault(where, what)

    def check(self) -> None:
        """Go on where there is no fault.

        Raises:
            InputError: one line that names up to `SHOWN` rows, each with what is wrong with it.
        """
        if not self.found:
            return
        (first, what), *others = self.found.items()
        line = f"{first}: {what}"
        for where, what in others[: SHOWN - 1]:
            line += f"; also {where.removeprefix(f'{self.path} ')}: {what}"
        more = len(others) - (SHOWN - 1)
        raise InputError(line + (f"; and {more} more rows" if more > 0 else ""))


def read_rows(path: Path | str) -> list[Row]:
    """The rows of a file; see `read_table`."""
    return read_table(path).rows


def read_table(path: Path | str) -> Table:
    """All rows of a file; blank lines are skipped, and of tables the rows without a value.

    JSON lines may be one array instead. Columns are known by their names without case and blanks
    around them, where only one is called so. Text is UTF-8, or what a byte order mark says; a CSV
    file is separated by commas, semicolons or tabs, as its head line is.

    Raises:
        InputError: no such file, an unknown ending, rows that cannot be read, or no row at all.
    """
    path = Path(path)
    readers = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
    readers |= {".json": _json_lines, ".tsv": _csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path}: the ending says the format; give {', '.join(readers)} (unpack what is packed,"
            " save a spreadsheet as CSV UTF-8)"
        )
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        reason = getattr(error, "strerror", None) or "no such name"
        raise InputError(
            f"{path}: cannot be read ({reason}); paths are from the folder that the run is"
            " started in"
        ) from None
    if content.startswith(PACKED):
        raise InputError(
            f"{path}: is packed, or a spreadsheet, whatever its ending says; unpack it, or save it"
            " as CSV UTF-8"
        )
    faults = Faults(path)
    rows = list(reader(path, content, faults))
    faults.check()
    filled = [row for row in rows if reader is _json_lines or not _is_blank(row.values)]
    if not filled:
        raise InputError(f"{path}: has no row; give it some")
    named = frozenset() if reader is _json_lines else frozenset().union(*(r.values for r in filled))
    return Table(filled, len(rows) - len(filled), named)


def _json_lines(path: Path, content: bytes, faults: Faults) -> Iterator[Row]:
    text = _decoded(path, content)
    if isinstance(whole := _value(text)[0], list) and any(isinstance(v, dict) for v in whole):
        found = [(i, f"{path} item {i}", (v, None)) for i, v in enumerate(whole, start=1)]
    else:
        lines = enumerate(text.split("\n"), start=1)
        found = [(i, f"{path} line {i}", _value(line)) for i, line in lines if line.strip()]
    for number, where, (values, fault) in found:
        if fault is None and not isinstance(values, dict):
            fault = "is no JSON object; give {...} with named values"
        if fault is not None:
            faults.add(where, fault)
        else:
            yield Row(number, where, _named(values))


class _NamedTwice(ValueError):
    """A JSON object gives two values one name."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(values := dict(pairs)) < len(pairs):
        raise _NamedTwice
    return values


def _value(text: str) -> tuple[Any, str | None]:
    """What a JSON text says, or what is wrong with it."""
    try:
        return json.loads(text, object_pairs_hook=_object), None
    except _NamedTwice:
        return None, "gives two values one name; rename one"
    except (ValueError, RecursionError):
        return None, "not valid JSON; one line is one object"


def _csv(path: Path, content: bytes, faults: Faults) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # the default refuses texts of 128 KB
    text = _decoded(path, content)
    told = re.match(r"sep=(.)\r?\n", text)  # a spreadsheet's way to name the separator
    text = text[told.end() :] if told else text
    # blank lines may stand before the head line; line ends inside quoted texts are kept
    stream = io.StringIO(text.lstrip("\r\n"), newline="")
    separator = told[1] if told else _separator(path, stream)
    lines = csv.reader(stream, strict=True, delimiter=separator)
    head: list[str] | None = None
    number = 0
    while True:
        where = f"{path} row {number}" if head else f"{path} head line"
        try:
            fields = next(lines, None)
        except csv.Error:
            faults.add(where, "not valid CSV; quote texts with commas, quotes or line breaks")
            return  # where the next row begins is not known
        if fields is None:
            return
        if head is None:
            head = fields
            names = [name.strip().lower() for name in head if name.strip()]
            if len(set(names)) < len(names):
                raise InputError(f"{path}: its head line names a column twice; rename one")
        elif any(fields[len(head) :]):
            faults.add(where, "has more fields than the head; quote texts with commas")
        elif fields:
            # an empty cell is one that is left out
            cells = {name: cell or None for name, cell in zip(head, fields, strict=False)}
            yield Row(number, where, _named(cells))
        number += 1


def _separator(path: Path, stream: io.StringIO) -> str:
    """What separates the columns of the head line; a single column is as good as any.

    Raises:
        InputError: it could be more than one.
    """
    start = stream.tell()
    line = stream.readline()
    stream.seek(start)
    found = {}
    for separator in SEPARATORS:
        fields = next(csv.reader([line], delimiter=separator), [])
        if len(fields) > 1:
            found[separator] = {name.strip().lower() for name in fields}
    if len(found) > 1:
        found = {separator: names for separator, names in found.items() if names & KNOWN}
        if len(found) != 1:
            raise InputError(
                f"{path}: its head line could be separated by more than one of"
                f" {', '.join(SEPARATORS.values())}; use one of them in it"
            )
    return next(iter(found), ",")


def _parquet(path: Path, content: bytes, faults: Faults) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(pyarrow.BufferReader(content)).to_pylist()
    except Exception:  # whatever the library is led to by a file or by what its cells hold
        raise InputError(f"{path}: not a Parquet file; write it anew") from None
    for number, values in enumerate(table, start=1):
        yield Row(number, f"{path} row {number}", _named(values))


def _decoded(path: Path, content: bytes) -> str:
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8-sig")
    try:
        text = content.decode(encoding)  # spreadsheets put a mark before the first line
    except UnicodeDecodeError:
        raise InputError(
            f"{path}: is not {encoding.removesuffix('-sig').upper()}; write it anew as UTF-8 (in a"
            " spreadsheet: CSV UTF-8)"
        ) from None
    if "\0" in text:
        raise InputError(
            f"{path}: has zero bytes: it is damaged, or UTF-16 without its mark; write it anew as"
            " UTF-8"
        )
    return text


def _named(values: dict[str, Any]) -> dict[str, Any]:
    """Columns by lower-case name; those that differ by case alone are left as they are spelt."""
    names = [name.strip().lower() for name in values]
    return {
        name if names.count(name) == 1 else spelt: value
        for (spelt, value), name in zip(values.items(), names, strict=True)
    }


def is_missing(value: Any) -> bool:
    """Whether a cell was left out: nothing, or the NaN that pandas writes for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _is_blank(values: dict[str, Any]) -> bool:
    """Whether no cell of a row holds anything, as of those below the last of a spreadsheet."""
    return all(
        is_missing(value) or (isinstance(value, str) and not value.strip())
        for value in values.values()
    )
