"""From a model's answers to an item's value. The task files name these functions.

Each takes an item and the list of the model's answers to its requests, and returns one named
value. A log-probability that is not a number makes the value NaN: a broken model is not a wrong
answer.
"""

import math
import re
import string
from collections import Counter
from typing import Any

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def words(text: str) -> list[str]:
    """The words that F1 compares: lower case, without punctuation and articles.

    Punctuation is cut out, not replaced by a space ("don't" is one word, "dont"), as in the
    published dialogue scores (Jang et al. 2023) and in SQuAD before them.
    """
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def unigram_f1(prediction: str, reference: str) -> float:
    """Harmonic mean of precision and recall over words, repeats counted; in 0..1."""
    predicted, expected = Counter(words(prediction)), Counter(words(reference))
    shared = (predicted & expected).total()
    return 2 * shared / (predicted.total() + expected.total()) if shared else 0.0


def choice(item: dict[str, Any], answers: list[tuple[float, bool]]) -> dict[str, float]:
    """1 if the gold choice has the highest summed log-probability; the first of equals wins."""
    sums = [log_probability for log_probability, _ in answers]
    if any(math.isnan(value) for value in sums):
        return {"accuracy": math.nan}
    return {"accuracy": float(sums.index(max(sums)) == item["gold"])}


def last_word(item: dict[str, Any], answers: list[tuple[float, bool]]) -> dict[str, float]:
    """1 if every token of the target is the greedy one."""
    ((log_probability, greedy),) = answers
    return {"accuracy": math.nan if math.isnan(log_probability) else float(greedy)}


def dialogue(item: dict[str, Any], answers: list[str]) -> dict[str, float]:
    """Unigram F1 of the reply against the reference."""
    return {"f1": unigram_f1(answers[0], item["reference"])}


def perplexity(item: dict[str, Any], answers: list[float]) -> dict[str, float]:
    """Negative log-likelihood of the text, nats."""
    return {"nats": -answers[0]}
