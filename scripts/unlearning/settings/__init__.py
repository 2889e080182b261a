"""Settings classes: strict, typed, and described for the config's JSON schema.

A settings class is a frozen dataclass made with `@settings_class`. Values from YAML or JSON are
checked and converted by pydantic; an unknown key, a missing one or a wrong type is an `InputError`
of one line. A string under a field describes it; the descriptions end up in config/schema.json,
where editors show them.

One file per stage. Nothing here imports torch or the analysis libraries, as the config is checked
each time that Snakemake starts.
"""

import json
import textwrap
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from unlearning.jobs.errors import InputError, nearest

Class = TypeVar("Class")

# names become parts of file names and of the engine's wildcards
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*$")]

settings_class = dataclass(
    frozen=True,
    kw_only=True,
    config=ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False),
)


def build(values: Any, wanted: type[Class], where: str) -> Class:
    """Make a settings object of plain values.

    Args:
        values: a mapping, as YAML or JSON give it.
        wanted: a class made with `@settings_class`.
        where: what to call the mapping in messages, as "config/config.yaml".

    Raises:
        InputError: the values do not fit; the line names the first key that is wrong.
    """
    try:
        return TypeAdapter(wanted).validate_python(values)
    except ValidationError as error:
        raise InputError(f"{where}: {_explain(error.errors()[0], wanted)}") from None
    except UnicodeEncodeError:
        raise InputError(
            f"{where}: a text has half a character (a lone surrogate); write it anew"
        ) from None


def _explain(problem: dict[str, Any], wanted: type) -> str:
    """One line for one problem that pydantic found."""
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _keys_at(wanted, path[:-1])
        return f"unknown key '{key}'; {nearest(path[-1], known)}"
    if problem["type"] in ("missing", "missing_argument"):
        return f"key '{key}' is missing; add it"
    if problem["type"] == "value_error":
        return f"{key}: {problem['ctx']['error']}" if key else str(problem["ctx"]["error"])
    found = textwrap.shorten(repr(problem["input"]), 80, placeholder=" ...")
    return f"{key}: {problem['msg'].lower()}, found {found}; correct it"


def _keys_at(wanted: type, path: list[str]) -> list[str]:
    """The keys that the settings class allows at a path, read off its JSON schema."""
    schema = TypeAdapter(wanted).json_schema()
    node = schema
    for part in path:
        of_any_name = [*node.get("patternProperties", {}).values(), {}]
        node = node.get("properties", {}).get(part) or of_any_name[0]
        node = next((choice for choice in node.get("anyOf", []) if "$ref" in choice), node)
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return list(node.get("properties", {}))


def read_settings(text: str, wanted: type[Class]) -> Class:
    """Read a settings class from inline JSON (text that starts with "{") or from a JSON file.

    Raises:
        InputError: no such file, not valid JSON, or values that do not fit (`build`).
    """
    inline = text.lstrip().startswith("{")
    where = "--settings" if inline else text
    try:
        values = json.loads(text if inline else Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror}); give a JSON file") from None
    except ValueError as error:
        raise InputError(f"{where}: not valid JSON ({error}); mend it") from None
    return build(values, wanted, where)
