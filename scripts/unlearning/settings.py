"""Settings classes: strict, typed, and described for the config's JSON schema.

A settings class is a frozen dataclass made with `@settings_class`. Values from YAML or JSON are
checked and converted by pydantic; an unknown key, a missing one or a wrong type is an `InputError`
of one line. A string under a field describes it; the descriptions end up in config/schema.json,
where editors show them.
"""

import difflib
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from unlearning.errors import InputError

Class = TypeVar("Class")

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


def _explain(problem: dict[str, Any], wanted: type) -> str:
    """One line for one problem that pydantic found."""
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _keys_at(wanted, path[:-1])
        near = difflib.get_close_matches(path[-1], known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(sorted(known))}"
        return f"unknown key '{key}'; {hint}"
    if problem["type"] in ("missing", "missing_argument"):
        return f"key '{key}' is missing; add it"
    if problem["type"] == "value_error":
        return f"{key}: {problem['ctx']['error']}" if key else str(problem["ctx"]["error"])
    return f"{key}: {problem['msg'].lower()}, found {problem['input']!r}; correct it"


def _keys_at(wanted: type, path: list[str]) -> list[str]:
    """The keys that the settings class allows at a path, read off its JSON schema."""
    schema = TypeAdapter(wanted).json_schema()
    node = schema
    for part in path:
        node = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return list(node.get("properties", {}))


@settings_class
class UnlearningSettings:
    """What all unlearners share."""

    learning_rate: float = Field(default=5.0e-5, gt=0)
    """Adam's learning rate, constant; published 5e-5 on GPT-Neo."""

    micro_batch: int = Field(default=32, gt=0)
    """Sequences per forward and backward pass. The whole forget set is one optimizer step all the
    same: this bounds memory and changes nothing beyond rounding."""

    max_epochs: int = Field(default=150, gt=0)
    """At most this many epochs a run; published 150. A run that gets there is recorded as such."""

    stop_metrics: tuple[Literal["ma", "el"], ...] = Field(default=("ma",), min_length=1)
    """What the stop rule looks at: "ma" as in the ICML 2024 release; "ma" and "el" as in Jang et
    al. 2023, where the mean extraction likelihood must be below its threshold too."""

    retain: int = Field(default=128, ge=0)
    """Rows of ordinary training text handed to methods that train on something to keep."""


@settings_class
class MeasurementSettings:
    """How a model is measured."""

    ngram: int = Field(default=10, ge=1)
    """n of the extraction likelihood EL_n, tokens; published 10 at 200 tokens a sequence."""

    extraction_suffix: int = Field(default=50, ge=1)
    """A sequence counts as extracted when greedy decoding from all tokens before the last so many
    emits them verbatim."""

    min_k: float = Field(default=0.2, gt=0, le=1)
    """The share of least likely tokens that Min-K% and Min-K%++ average over."""

    tasks: dict[str, Literal["choice", "last_word", "dialogue", "perplexity"]] = Field(min_length=1)
    """The NLP suite: name of each task -> its kind."""

    batch_size: int = Field(default=32, gt=0)
    """Items of the suite per forward pass."""

    limit: int | None = Field(default=None, gt=0)
    """Take only so many items of each task; null takes all, and is what results are made with."""
