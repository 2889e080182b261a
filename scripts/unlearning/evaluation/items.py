"""Tasks and their items: reading JSON lines, and saying exactly what is wrong with them.

One line is one item. What a kind needs (other keys are allowed and not read):

- choice: `context` (str), `choices` (at least two strings), `gold` (index of the right choice)
- last_word: `context` (str), `target` (str)
- dialogue: `context` (str), `reference` (str with at least one word)
- perplexity: `text` (str)

Choices are appended to the context as they stand: they bring their own leading space. A target is a
word, so one space sets it off from its context if nothing else does.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearning.evaluation.scoring import words
from unlearning.jobs.errors import InputError

KEYS = {
    "choice": {"context": str, "choices": list, "gold": int},
    "last_word": {"context": str, "target": str},
    "dialogue": {"context": str, "reference": str},
    "perplexity": {"text": str},
}


@dataclass(frozen=True)
class Task:
    """One task of the suite.

    Attributes:
        name: how tables call it.
        kind: "choice", "last_word", "dialogue" or "perplexity".
        path: JSON lines, one item each.
    """

    name: str
    kind: str
    path: Path


def check_tasks(tasks: list[Task]) -> None:
    """Hold the list of tasks to what a suite needs.

    Raises:
        InputError: no task at all, a name used twice, or an unknown kind.
    """
    if not tasks:
        raise InputError("tasks: the list is empty; name at least one task")
    seen = set()
    for task in tasks:
        if task.name in seen:
            raise InputError(f"tasks: '{task.name}' is named twice; names must differ")
        seen.add(task.name)
        if task.kind not in KEYS:
            raise InputError(
                f"tasks: '{task.name}' is of unknown kind '{task.kind}'; known: {', '.join(KEYS)}"
            )


def read_items(task: Task, limit: int | None = None) -> list[dict[str, Any]]:
    """Read and check the items of a task.

    Args:
        task: what to read.
        limit: stop after so many items; None reads all.

    Returns:
        The items in file order, each with the keys of its kind and `line`, its line number
        (from 1). Blank lines are skipped. Targets begin with white space unless their context ends
        with it.

    Raises:
        InputError: no such file, no item in it, a line that is not a JSON object, a key that is
            missing or has the wrong type, fewer than two choices, an empty choice, a gold index
            out of range, a reference without a word, or an empty text.
    """
    if limit is not None and limit < 1:
        raise InputError(f"tasks: limit {limit} is below 1; give at least one item, or no limit")
    try:
        lines = task.path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{task.path}: task '{task.name}' cannot be read ({error}); give a file of JSON lines"
        ) from None
    items = []
    for number, line in enumerate(lines, start=1):
        if len(items) == limit:
            break
        if line.strip():
            where = f"{task.path} line {number}"
            items.append(check_item(_parsed(line, where), task.kind, where) | {"line": number})
    if not items:
        raise InputError(f"{task.path}: task '{task.name}' has no item; add some or drop the task")
    return items


def _parsed(line: str, where: str) -> dict[str, Any]:
    """One line as an object."""
    try:
        values = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not valid JSON ({error}); mend it") from None
    if not isinstance(values, dict):
        raise InputError(f"{where}: an item is a JSON object, not {type(values).__name__}")
    return values


def check_item(values: dict[str, Any], kind: str, where: str) -> dict[str, Any]:
    """The keys that the kind needs, checked.

    Args:
        values: as they stand in a file.
        kind: of the task.
        where: file and place, for messages.

    Raises:
        InputError: what is wrong with it, see `read_items`.
    """
    for key, expected in KEYS[kind].items():
        if key not in values:
            raise InputError(f"{where}: key '{key}' is missing; a {kind} item needs it")
        if not isinstance(values[key], expected) or isinstance(values[key], bool):
            raise InputError(
                f"{where}: '{key}' is of type {type(values[key]).__name__}, not"
                f" {expected.__name__}; correct it"
            )
    item = {key: values[key] for key in KEYS[kind]}
    if kind == "choice":
        _check_choice(item, where)
    required = {"last_word": "target", "perplexity": "text", "dialogue": "context"}.get(kind)
    if required and not item[required].strip():
        raise InputError(f"{where}: '{required}' is empty; give it some text")
    if kind == "dialogue" and not words(item["reference"]):
        raise InputError(f"{where}: 'reference' has no word that F1 counts; give it one")
    # an empty context is meaningful (the model starts from its beginning-of-text token)
    if item.get("context", "").isspace():
        raise InputError(f"{where}: 'context' is white space only; give it text or leave it empty")
    if kind == "last_word":
        context, target = item["context"], item["target"]
        if context and not context[-1].isspace() and not target[0].isspace():
            item["target"] = f" {target}"
    return item


def _check_choice(item: dict[str, Any], where: str) -> None:
    choices = item["choices"]
    if len(choices) < 2:
        raise InputError(f"{where}: {len(choices)} choices; a choice item needs at least two")
    for choice in choices:
        if not isinstance(choice, str) or not choice.strip():
            # a list or an object may hold the text that was meant
            shown = "a list or object" if isinstance(choice, list | dict) else repr(choice)
            raise InputError(f"{where}: choice {shown} is not a text; give it some text")
    if not 0 <= item["gold"] < len(choices):
        raise InputError(
            f"{where}: gold {item['gold']} is not the index of one of {len(choices)} choices"
            " (counted from 0); correct it"
        )
