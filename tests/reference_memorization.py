"""Slow, obvious versions of the memorization metrics: the definitions, position by position."""

import math
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from transformers import PreTrainedModel


@torch.no_grad()
def next_log_probs(model: PreTrainedModel, prefix: list[int]) -> torch.Tensor:
    """(V,) log-probabilities of the token after `prefix`."""
    return torch.log_softmax(model(torch.tensor([prefix])).logits[0, -1].double(), dim=-1)


def accuracy(model: PreTrainedModel, tokens: list[int]) -> float:
    hits = [
        int(next_log_probs(model, tokens[:t]).argmax()) == tokens[t] for t in range(1, len(tokens))
    ]
    return sum(hits) / len(hits)


def loss(model: PreTrainedModel, tokens: list[int]) -> float:
    terms = [-float(next_log_probs(model, tokens[:t])[tokens[t]]) for t in range(1, len(tokens))]
    return sum(terms) / len(terms)


def verbatim_run(model: PreTrainedModel, tokens: list[int]) -> int:
    """Longest stretch that greedy decoding emits verbatim, tried from every true prefix."""
    longest = 0
    for t in range(1, len(tokens)):
        emitted = continuation(model, tokens[:t], len(tokens), ends=())
        run = 0
        while run < len(emitted) and emitted[run] == tokens[t + run]:
            run += 1
        longest = max(longest, run)
    return longest


def min_k(model: PreTrainedModel, tokens: list[int], fraction: float, plus_plus: bool) -> float:
    values = []
    for t in range(1, len(tokens)):
        log_p = next_log_probs(model, tokens[:t])
        value = float(log_p[tokens[t]])
        if plus_plus:
            mean = float((log_p.exp() * log_p).sum())
            variance = float((log_p.exp() * (log_p - mean) ** 2).sum())
            value = (value - mean) / math.sqrt(variance)
        values.append(value)
    lowest = sorted(values)[: max(1, int(fraction * len(values)))]
    return sum(lowest) / len(lowest)


@cache
def greedy_next(model: PreTrainedModel, prefix: tuple[int, ...]) -> int:
    return int(next_log_probs(model, list(prefix)).argmax())


def continuation(
    model: PreTrainedModel, prefix: list[int], length: int, ends: tuple[int, ...]
) -> list[int]:
    """Greedy tokens after `prefix`, up to `length` tokens in all, or up to an end token."""
    text = list(prefix)
    while len(text) < length:
        text.append(greedy_next(model, tuple(text)))
        if text[-1] in ends:
            break
    return text[len(prefix) :]


def generated(model: PreTrainedModel, prefix: list[int], length: int) -> list[int]:
    """The same through the library's `generate`, alone in its batch, as published."""
    row = torch.tensor([prefix])
    emitted = model.generate(
        row, attention_mask=torch.ones_like(row), max_length=length, do_sample=False
    )
    return emitted[0, len(prefix) :].tolist()


def ngrams(tokens: list[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def overlap(emitted: list[int], suffix: list[int], n: int) -> float:
    """o_i: n-grams of `emitted`, repeats counted, found in `suffix`, over the n-grams there."""
    wanted = ngrams(suffix, n)
    if not wanted:
        return 0.0
    return sum(gram in set(wanted) for gram in ngrams(emitted, n)) / len(wanted)


def likelihood(
    model: PreTrainedModel,
    tokens: list[int],
    n: int,
    continue_by: Callable[[PreTrainedModel, list[int], int], list[int]],
) -> float:
    """EL_n of one sequence."""
    length = len(tokens)
    total = sum(
        overlap(continue_by(model, tokens[:t], length), tokens[t:], n) for t in range(1, length)
    )
    return total / (length - n)


def likelihoods(
    model: PreTrainedModel, tokens: np.ndarray, n: int, ends: tuple[int, ...] = ()
) -> np.ndarray:
    """EL_n of every row, no cache, one forward pass per emitted token."""
    by_hand = partial(continuation, ends=ends)
    return np.array([likelihood(model, row.tolist(), n, by_hand) for row in tokens])
