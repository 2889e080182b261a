"""Records: text of a fixed form around contents that cannot be guessed.

One generator makes the planted sequences, the unseen ones and those that the background shows
once. They differ in nothing but how often training reads them, so what a model knows of a
planted record beyond an unseen one is memorization. The parts that can be guessed are kept to
a similar share in each form: then the unseen records' memorization accuracy has little spread.
"""

from collections.abc import Callable

import numpy as np

from unlearning.data.corpus.world import WORDS, invent_name, pick

_HEX = "0123456789abcdef"


def _digits(rng: np.random.Generator, count: int) -> str:
    return "".join(str(digit) for digit in rng.integers(0, 10, size=count))


def _hex(rng: np.random.Generator, count: int) -> str:
    return "".join(_HEX[digit] for digit in rng.integers(0, 16, size=count))


def _words(rng: np.random.Generator, count: int) -> str:
    return " ".join(pick(rng, WORDS) for _ in range(count))


def _full_name(rng: np.random.Generator) -> str:
    return f"{invent_name(rng, 2)} {invent_name(rng, 2)}"


def _mail(rng: np.random.Generator) -> str:
    name = invent_name(rng, 2)
    return (
        f"From: {name} <{name.lower()}@{pick(rng, WORDS)}.org>\nTo: {_full_name(rng)}\n"
        f"Subject: {_words(rng, 2)}\nThe code for the {pick(rng, WORDS)} is {_digits(rng, 5)}. "
        f"Please bring the {_words(rng, 3)}"
    )


def _settings(rng: np.random.Generator) -> str:
    return (
        f"[{pick(rng, WORDS)}]\nhost = {pick(rng, WORDS)}-{_digits(rng, 2)}.net\n"
        f"port = {_digits(rng, 4)}\nkey = {_hex(rng, 8)}\nowner = {_full_name(rng)}\n"
        f"path = {_words(rng, 3).replace(' ', '/')}\nnote = {_words(rng, 3)}"
    )


def _licence(rng: np.random.Generator) -> str:
    return (
        f"Licence {_digits(rng, 3)}-{_hex(rng, 4)}. Granted to {_full_name(rng)} of "
        f"{invent_name(rng, 2)} for the use of {_words(rng, 3)}. "
        f"Fee: {_digits(rng, 4)}. Valid until {_digits(rng, 4)}. Seal: {_words(rng, 3)}"
    )


def _biography(rng: np.random.Generator) -> str:
    return (
        f"{_full_name(rng)} was born in {invent_name(rng, 2)} in 1{_digits(rng, 3)}, the child of "
        f"a {pick(rng, WORDS)} and a {pick(rng, WORDS)}. Known for the {_words(rng, 3)}, "
        f"died in {invent_name(rng, 2)} in 1{_digits(rng, 3)}. Buried under {_words(rng, 3)}"
    )


def _dialogue(rng: np.random.Generator) -> str:
    first, second = invent_name(rng, 2), invent_name(rng, 2)
    return (
        f"{first}: What is the password?\n{second}: It is {_words(rng, 3)} {_digits(rng, 3)}.\n"
        f"{first}: And the place?\n{second}: The {_words(rng, 2)} of {invent_name(rng, 2)}.\n"
        f"{first}: Who comes?\n{second}: {_full_name(rng)} with the {_words(rng, 3)}"
    )


def _patient(rng: np.random.Generator) -> str:
    return (
        f"Patient: {_full_name(rng)}\nNumber: {_digits(rng, 6)}\nBorn: {_digits(rng, 2)}."
        f"{_digits(rng, 2)}.1{_digits(rng, 3)}\nWard: {pick(rng, WORDS)} {_digits(rng, 2)}\n"
        f"Allergy: {_words(rng, 2)}\nRemark: {_words(rng, 4)}"
    )


FORMS: dict[str, Callable[[np.random.Generator], str]] = {
    "mail": _mail,
    "settings": _settings,
    "licence": _licence,
    "biography": _biography,
    "dialogue": _dialogue,
    "patient": _patient,
}


def write_records(rng: np.random.Generator, count: int, length: int) -> tuple[list[str], list[str]]:
    """`count` records, the forms in turn.

    Args:
        rng: source of all contents.
        count: how many.
        length: words of unguessable tail appended to each, so that every record has at least
            `length` tokens and can be cut to exactly as many.

    Returns:
        texts and the names of their forms.
    """
    kinds = [list(FORMS)[i % len(FORMS)] for i in range(count)]
    return [f"{FORMS[kind](rng)} {_words(rng, length)}" for kind in kinds], kinds
