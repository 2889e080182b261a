"""From rows of the published tasks to items of the suite (`evaluation.items`).

The prompts are those of Jang et al. 2023, which the paper takes over: the bare question or premise,
then a space and the choice. Ours correct what their code gets wrong, and `published` switches the
corrections off:

- COPA: theirs leaves out whether cause or effect is asked; ours says "because" or "therefore", as
  the evaluation harness does.
- ARC: theirs drops the items with 3 or 5 choices, as they do not fit its batches; ours keeps them.
- LAMBADA: theirs cuts at the last blank, so that a word after a newline takes the word before it
  along; ours cuts at the last white space.
- MathQA: theirs sets no space between problem and choice. Some rows hold their options as the text
  of a Python list; theirs leaves quotation marks and brackets in the choices, ours does not.

How their code scores the items is another matter: `evaluation.suite`, `published`.
"""

import re
from collections.abc import Callable
from typing import Any

from unlearning.jobs.errors import InputError

Row = dict[str, Any]
Item = dict[str, Any]

KINDS = {
    "lambada": "last_word",
    **dict.fromkeys(
        (
            "piqa", "hellaswag", "arc_easy", "arc_challenge", "copa", "winogrande", "mathqa",
            "pubmedqa",
        ),
        "choice",
    ),
    **dict.fromkeys(
        ("wizard_of_wikipedia", "empathetic_dialogues", "blended_skill_talk", "wizard_of_internet"),
        "dialogue",
    ),
    "pile": "perplexity",
    "wikitext": "perplexity",
}  # fmt: skip
"""Published task -> its kind in the suite."""


def items_of(task: str, rows: list[Row], published: bool = False) -> list[Item]:
    """Items of a task, in the order of its rows.

    Args:
        task: its name, a key of `KINDS`.
        rows: with the fields of the task's hub dataset.
        published: ask exactly as the published code does.

    Raises:
        InputError: a row lacks a field or cannot be read.
    """
    if task not in KINDS:
        raise InputError(
            f"measurement.tasks: '{task}' is no published task; known: {', '.join(sorted(KINDS))}"
        )
    convert = _CONVERT.get(task, _dialogue if KINDS[task] == "dialogue" else _text)
    items = []
    for number, row in enumerate(rows):
        try:
            item = convert(row, published)
        except (KeyError, ValueError, IndexError, TypeError, AttributeError) as error:
            raise InputError(
                f"task '{task}', row {number}: not in its published form"
                f" ({type(error).__name__}: {error}); take the file anew"
            ) from None
        if item is not None:
            items.append(item)
    return items


def _choice(context: str, choices: list[str], gold: int, space: str = " ") -> Item:
    return {"context": context, "choices": [space + choice for choice in choices], "gold": gold}


def _piqa(row: Row, published: bool) -> Item:
    return _choice(row["goal"], [row["sol1"], row["sol2"]], int(row["label"]))


def _hellaswag(row: Row, published: bool) -> Item:
    return _choice(row["ctx"], list(row["endings"]), int(row["label"]))


def _arc(row: Row, published: bool) -> Item | None:
    choices = list(row["choices"]["text"])
    if published and len(choices) != 4:
        return None
    # labels are letters or digits
    gold = list(row["choices"]["label"]).index(row["answerKey"])
    return _choice(row["question"], choices, gold)


def _copa(row: Row, published: bool) -> Item:
    choices, gold = [row["choice1"], row["choice2"]], int(row["label"])
    if published:
        return _choice(row["premise"], choices, gold)
    word = {"cause": "because", "effect": "therefore"}[row["question"]]
    context = f"{row['premise'].strip().removesuffix('.')} {word}"
    return _choice(context, [choice[0].lower() + choice[1:] for choice in choices], gold)


def _winogrande(row: Row, published: bool) -> Item:
    before, blank, after = row["sentence"].partition("_")
    if not blank:
        raise ValueError("the sentence has no blank to fill")
    choices = [row["option1"] + after, row["option2"] + after]
    return _choice(before.rstrip(), choices, int(row["answer"]) - 1)


def _mathqa(row: Row, published: bool) -> Item:
    if published:
        found = re.findall(r"[abcd] \) .*?, |e \) .*?$", row["options"])
        choices, space = [option[4:].rstrip(" ,") for option in found], ""
    else:
        # an option goes from its letter, which a few rows write twice, to the next one's
        parts = re.split(r"(?:^|(?<=[\s,'\"\[]))(?:[abcde] \) ?)+", row["options"])
        choices, space = [part.strip(" ,'\"[]") for part in parts[1:]], " "
    gold = "abcde".index(row["correct"])
    if gold >= len(choices):
        raise ValueError(f"{len(choices)} options, the right one is {row['correct']}")
    return _choice(row["Problem"], choices, gold, space)


def _pubmedqa(row: Row, published: bool) -> Item:
    abstract = "\n".join(row["CONTEXTS"])
    answers = ["yes", "maybe", "no"]
    return _choice(
        f"Context: {abstract}\nQuestion: {row['QUESTION']}\nAnswer:",
        answers,
        answers.index(row["final_decision"]),
    )


def _lambada(row: Row, published: bool) -> Item:
    if published:
        context, _, word = row["text"].rpartition(" ")
        return {"context": context, "target": f" {word}"}
    context, white, word = re.fullmatch(r"(.*?)(\s)(\S+)\s*", row["text"], re.DOTALL).groups()
    return {"context": context, "target": white + word}


def _text(row: Row, published: bool) -> Item:
    return {"text": row["text"]}


def _dialogue(row: Row, published: bool) -> Item:
    """Earlier turns as two speakers in turn, the model replies as the next one."""
    *earlier, last = [plain_turn(turn) for turn in row["text"]]
    lines = [f"User {1 + i % 2}: {turn}" for i, turn in enumerate(earlier)]
    return {"context": "\n".join([*lines, f"User {1 + len(earlier) % 2}:"]), "reference": last}


def plain_turn(text: str) -> str:
    """A turn of a dialogue in the form that the published prompts have.

    Lower case but for "I" and the beginnings of sentences, no blank before a punctuation mark nor
    around an apostrophe, and a mark at the end. Of a turn that begins with a blank the first word
    stays small, and one after two blanks becomes large: so does the published code.
    """
    text = text.lower()
    for mark in ".,?!":
        text = text.replace(mark, f" {mark}").replace("  ", " ")
    words = text.replace("'", " ' ").replace("  ", " ").split(" ")
    begins = [i != 1 and words[i - 1] in ("", ".", "?", "!") for i in range(len(words))]
    begins[0] = True
    words = [
        word[:1].upper() + word[1:] if begin or word == "i" else word
        for word, begin in zip(words, begins, strict=True)
    ]
    text = f" {' '.join(words)} "
    for mark in ".,?!":
        text = text.replace(f" {mark}", mark)
    text = text.replace(" ' ", "'").strip().replace("  ", " ")
    return text if not text or text[-1] in "!.?)\"'" else f"{text}."


_CONVERT: dict[str, Callable[[Row, bool], Item | None]] = {
    "lambada": _lambada,
    "piqa": _piqa,
    "hellaswag": _hellaswag,
    "arc_easy": _arc,
    "arc_challenge": _arc,
    "copa": _copa,
    "winogrande": _winogrande,
    "mathqa": _mathqa,
    "pubmedqa": _pubmedqa,
}
