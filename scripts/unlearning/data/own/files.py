"""Rows of the user's files: JSON lines, CSV or Parquet.

What stands in a row is nobody's business: no message repeats a value, nor the name of a column,
which is a text where a CSV file has no head line. Imports no pandas: forget sets are counted
whenever Snakemake starts.
"""

import csv
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearning.jobs.errors import InputError


@dataclass(frozen=True)
class Row:
    """One row of a file.

    Attributes:
        number: of its line in JSON lines, of the row below the head line elsewhere; from 1.
        where: file and number, for messages.
        values: by column; a column that the row leaves out is missing or None.
    """

    number: int
    where: str
    values: dict[str, Any]


def read_rows(path: Path | str) -> list[Row]:
    """All rows of a file; blank lines are skipped.

    Raises:
        InputError: no such file, an unknown ending, a row that cannot be read, or no row at all.
    """
    path = Path(path)
    readers = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
    if path.suffix not in readers:
        raise InputError(f"{path}: the ending says the format; give {', '.join(readers)}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); paths are from the folder that the run is"
            " started in"
        ) from None
    rows = list(readers[path.suffix](path, content))
    if not rows:
        raise InputError(f"{path}: has no row; give it some")
    return rows


def _json_lines(path: Path, content: bytes) -> Iterator[Row]:
    for number, line in enumerate(_decoded(path, content).split("\n"), start=1):
        if line.strip():
            where = f"{path} line {number}"
            try:
                values = json.loads(line)
            except ValueError:
                raise InputError(f"{where}: not valid JSON; one line is one object") from None
            if not isinstance(values, dict):
                raise InputError(f"{where}: is no JSON object; give {{...}} with named values")
            yield Row(number, where, values)


def _csv(path: Path, content: bytes) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # the default refuses texts of 128 KB
    # line ends inside quoted texts are kept
    lines = csv.DictReader(io.StringIO(_decoded(path, content), newline=""), strict=True)
    number = 0
    while True:
        number += 1
        where = f"{path} row {number}"
        try:
            values = next(lines, None)
        except csv.Error:
            raise InputError(f"{where}: not valid CSV; quote texts with commas or quotes") from None
        if values is None:
            return
        if None in values:
            raise InputError(f"{where}: has more fields than the head; quote texts with commas")
        # an empty cell is one that is left out
        yield Row(number, where, {key: value or None for key, value in values.items()})


def _parquet(path: Path, content: bytes) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(pyarrow.BufferReader(content))
    except pyarrow.ArrowException:
        raise InputError(f"{path}: not a Parquet file; write it anew") from None
    for number, values in enumerate(table.to_pylist(), start=1):
        yield Row(number, f"{path} row {number}", values)


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")  # spreadsheets put a mark before the first line
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8; write it anew in that encoding") from None
