"""How well a model knows a sequence by heart: g(x) = MA, EL_n, loss, verbatim runs, Min-K%.

Everything except the extraction likelihood comes out of one teacher-forced forward pass
(`score_tokens`). The extraction likelihood needs greedy continuations of prefixes; most of them
follow from that same pass, the rest are decoded together (module `decoding`).

Every position of a row is text. There is no padding: a shorter sequence belongs in a call of its
own length (`rows.of_each`). Definitions: Jang et al. 2023 (arXiv 2210.01504) for MA and EL_n, Shi
et al. 2023 (2310.16789) for Min-K%, Zhang et al. 2024 (2404.02936) for Min-K%++.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from transformers import PreTrainedModel

from unlearning.jobs.errors import InputError
from unlearning.memorization.decoding import prefix_matches
from unlearning.memorization.rows import TokenRows, of_each
from unlearning.models.gpt_neo import GPTNeoReader
from unlearning.models.readers import LibraryReader, Reader, greatest
from unlearning.models.sharding import ShardedReader, is_sharded, least

BATCH_BYTES = 2**30  # what a forward pass over whole sequences may hand back


@dataclass(frozen=True)
class TokenScores:
    """One teacher-forced pass over N sequences of T tokens; column t belongs to token t + 1.

    The first token of a sequence is never scored, as published. A sequence with any non-finite
    logit has NaN in `log_probs`, and NaN in every score below.

    Attributes:
        hits: (N, T-1) bool, the greedy next token is the true one.
        greedy: (N, T-1) int64, the greedy next token; the lowest id among equals.
        log_probs: (N, T-1) float32, log p(true token | true prefix), nats.
        mean: (N, T-1) float32, expectation of log p(token) under the predictive distribution;
            NaN when the pass was made without moments.
        std: (N, T-1) float32, standard deviation of the same.
    """

    hits: np.ndarray
    greedy: np.ndarray
    log_probs: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    def of(self, rows: np.ndarray) -> "TokenScores":
        """The scores of some of the sequences; `rows` indexes or masks them."""
        return TokenScores(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @staticmethod
    def joined(parts: Sequence["TokenScores"]) -> "TokenScores":
        """The scores of sequences of one length under each other."""
        names = TokenScores.__dataclass_fields__
        return TokenScores(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))

    @property
    def finite(self) -> np.ndarray:
        """(N,) bool, whether all logits of the sequence were finite numbers."""
        return np.isfinite(self.log_probs).all(axis=1)

    @property
    def ma(self) -> np.ndarray:
        """(N,) memorization accuracy: share of the T-1 predicted tokens that are greedy hits."""
        return np.where(self.finite, self.hits.mean(axis=1), np.nan)

    @property
    def loss(self) -> np.ndarray:
        """(N,) mean negative log-likelihood of the T-1 predicted tokens, nats per token."""
        return np.where(self.finite, -self.log_probs.mean(axis=1, dtype=np.float64), np.nan)

    @property
    def verbatim_run(self) -> np.ndarray:
        """(N,) longest run of hits: the longest stretch greedy decoding emits from a true prefix.

        Whole numbers, as floats so that a non-finite sequence can be NaN.
        """
        run = longest = np.zeros(len(self.hits))
        for column in self.hits.T:
            run = (run + 1) * column
            longest = np.maximum(longest, run)
        return np.where(self.finite, longest, np.nan)

    def min_k(self, fraction: float) -> np.ndarray:
        """(N,) mean log p over the `fraction` least likely tokens (Min-K%); higher = member.

        Raises:
            InputError: the fraction is not in (0, 1].
        """
        return _mean_of_lowest(self.log_probs, fraction)

    def min_k_plus_plus(self, fraction: float) -> np.ndarray:
        """(N,) the same over (log p - mean) / std (Min-K%++); higher = member.

        Where the predictive distribution is flat (std 0) the standardized value is 0.

        Raises:
            InputError: the fraction is not in (0, 1].
        """
        centred = self.log_probs - self.mean
        standardized = np.divide(centred, self.std, out=0 * centred, where=self.std != 0)
        return _mean_of_lowest(standardized, fraction)

    def extracted(self, suffix: int) -> np.ndarray:
        """(N,) bool, greedy decoding of all but the last `suffix` tokens emits those exactly.

        Raises:
            InputError: `suffix` is not in 1..T-1.
        """
        return self.finite & self.hits[:, self._first_of(suffix) :].all(axis=1)

    def suffix_loss(self, suffix: int) -> np.ndarray:
        """(N,) mean negative log-likelihood of the last `suffix` tokens, nats per token.

        Raises:
            InputError: `suffix` is not in 1..T-1.
        """
        part = self.log_probs[:, self._first_of(suffix) :]
        return np.where(self.finite, -part.mean(axis=1, dtype=np.float64), np.nan)

    def token_profile(self, head: int) -> dict[str, np.ndarray]:
        """How the token scores of each sequence are spread, (N,) each, in nats.

        Two sequences of equal loss may differ in it: one made of easy and impossible tokens is no
        natural text. Needs a pass with moments.

        Args:
            head: so many first predicted tokens count as the beginning.

        Returns:
            entropy and entropy_spread, mean and standard deviation over the tokens of the entropy
            of the predictive distribution; log_prob_min, _q10, _q25, _median, _q75, _q90, _max and
            _spread, quantiles (linear between order statistics) and standard deviation of log p;
            head_loss, mean negative log-likelihood of the first `head` predicted tokens.

        Raises:
            InputError: `head` is not in 1..T-1.
        """
        self._first_of(head)
        log_probs, entropy = self.log_probs.astype(np.float64), -self.mean.astype(np.float64)
        at = {"min": 0, "q10": 0.1, "q25": 0.25, "median": 0.5, "q75": 0.75, "q90": 0.9, "max": 1}
        quantiles = np.quantile(log_probs, [*at.values()], axis=1)
        profile = {
            "entropy": entropy.mean(axis=1),
            "entropy_spread": entropy.std(axis=1),
            **{f"log_prob_{name}": row for name, row in zip(at, quantiles, strict=True)},
            "log_prob_spread": log_probs.std(axis=1),
            "head_loss": -log_probs[:, :head].mean(axis=1),
        }
        return {name: np.where(self.finite, values, np.nan) for name, values in profile.items()}

    def _first_of(self, suffix: int) -> int:
        """Column of the first of the last `suffix` tokens."""
        predicted = self.hits.shape[1]
        if not 1 <= suffix <= predicted:
            raise InputError(
                f"extraction suffix {suffix}: sequences of {predicted + 1} tokens allow"
                f" 1 to {predicted}"
            )
        return predicted - suffix


def _mean_of_lowest(values: np.ndarray, fraction: float) -> np.ndarray:
    if not 0 < fraction <= 1:
        raise InputError(f"Min-K% fraction {fraction}: choose a number above 0 and up to 1")
    count = max(1, int(fraction * values.shape[1]))
    lowest = np.partition(values, count - 1, axis=1)[:, :count]
    # partition puts NaN last, so a row with NaN is marked apart
    whole = np.isfinite(values).all(axis=1)
    return np.where(whole, lowest.mean(axis=1, dtype=np.float64), np.nan)


def score_tokens(
    model: PreTrainedModel,
    tokens: ArrayLike,
    *,
    batch_tokens: int = 2**13,
    moments: bool = True,
    last: int | None = None,
) -> TokenScores:
    """Score sequences in one teacher-forced pass.

    Args:
        model: a causal language model, in eval mode.
        tokens: (N, T) token ids, every position text.
        batch_tokens: tokens per forward pass, at most; no influence on the result beyond rounding.
        moments: also the mean and standard deviation that Min-K%++ needs.
        last: score only the last so many tokens, 1..T-1, after all that stand before them; the
            columns of the result are theirs. None scores all.

    Raises:
        InputError: `tokens` is no (N, T) table with T >= 2, or holds ids outside the vocabulary;
            `last` is not in 1..T-1.
    """
    rows = check_tokens(model, tokens)
    if last is not None and not 1 <= last < rows.shape[1]:
        raise InputError(
            f"last {last}: sequences of {rows.shape[1]} tokens allow 1 to {rows.shape[1] - 1}"
        )
    parts: list[list[Tensor]] = [[] for _ in range(5)]
    reader = reader_of(model)
    predicted = rows.shape[1] - 1 if last is None else last
    with without_gradients(reader):
        most = min(batch_tokens, BATCH_BYTES // reader.bytes_per_token())
        for batch in rows.split(max(1, most // rows.shape[1])):
            hidden = reader.hidden(batch[:, :-1])[:, -predicted:].flatten(0, 1)
            scored = score_hidden(reader, hidden, batch[:, -predicted:].flatten(), moments)
            for part, values in zip(parts, scored, strict=True):
                part.append(values.view(len(batch), predicted))
    return TokenScores(*(torch.cat(part).cpu().numpy() for part in parts))


def memorization_accuracy(model: PreTrainedModel, tokens: ArrayLike) -> np.ndarray:
    """(N,) MA alone, the cheap number a stop rule asks for first; arguments as `score_tokens`."""
    return score_tokens(model, tokens, moments=False).ma


def ma_and_loss(model: PreTrainedModel, rows: TokenRows) -> tuple[np.ndarray, np.ndarray]:
    """(N,) MA and (N,) loss of rows of any length, see `TokenScores`."""

    def measured(_: np.ndarray, tokens: Tensor) -> pd.DataFrame:
        scores = score_tokens(model, tokens, moments=False)
        return pd.DataFrame({"ma": scores.ma, "loss": scores.loss})

    table = of_each(rows, measured)
    return table["ma"].to_numpy(), table["loss"].to_numpy()


def extraction_likelihood(
    model: PreTrainedModel,
    tokens: ArrayLike,
    n: int,
    *,
    scores: TokenScores | None = None,
    memory_bytes: int | None = None,
) -> np.ndarray:
    """(N,) float64, extraction likelihood EL_n of each sequence.

    Every prefix of 1..T-1 tokens is continued greedily to length T. o_i is the number of n-grams
    of the continuation, repeats counted, that occur in the true suffix, over the number of
    n-grams of the true suffix; EL_n = sum_i o_i / (T - n) (Jang et al. 2023).

    An end-of-text token (`generation_config.eos_token_id`) that the model emits ends its
    continuation there, also when that token is the true one: what a `generate` call of that
    prefix alone returns. Inside a prefix the token is text like any other. (The published code
    fills ended rows up with padding while others of their batch go on; for sequences without an
    end-of-text token both are equal.)

    In float32 the values are those of the naive loop, prefix by prefix. In bfloat16 or float16
    two logits are often equal to the last bit, and which is greater then depends on the shapes
    of the matrix products: a continuation may differ from the naive loop's from such a tie on.

    Args:
        model: a causal language model, in eval mode.
        tokens: (N, T) token ids, every position text.
        n: length of the n-grams, 1 <= n < T.
        scores: `score_tokens` of the same model and tokens, if already known.
        memory_bytes: bound on the key-value caches held at a time; None takes 256 MB on a CPU,
            which its cache serves best, and a quarter of the free memory on a GPU.

    Raises:
        InputError: `n` is out of range, or `tokens` is not as `score_tokens` wants it.
    """
    rows = check_tokens(model, tokens)
    length = rows.shape[1]
    if not 1 <= n < length:
        raise InputError(
            f"EL_n: n is {n}; for sequences of {length} tokens choose 1 to {length - 1}"
        )
    greedy = None if scores is None else torch.from_numpy(scores.greedy).to(rows.device)
    if memory_bytes is None:
        on_gpu = rows.device.type == "cuda"
        memory_bytes = torch.cuda.mem_get_info(rows.device)[0] // 4 if on_gpu else 2**28
        memory_bytes = least(memory_bytes, rows.device)  # processes of one model keep step
    if not len(rows):
        return np.zeros(0)
    reader = reader_of(model)
    with without_gradients(reader):
        matches, finite = prefix_matches(reader, rows, greedy, n, memory_bytes)
    matches, finite = matches.cpu().numpy(), finite.cpu().numpy()
    available = np.arange(length - 1, n - 1, -1) - n + 1  # n-grams of the suffix, prefixes 1..T-n
    likelihood = (matches / available).sum(axis=1) / (length - n)
    if scores is not None:
        finite &= scores.finite
    return np.where(finite, likelihood, np.nan)


def reader_of(model: PreTrainedModel) -> Reader:
    """The fastest way to run this model that is exact for it."""
    if is_sharded(model):
        return ShardedReader(model)
    return GPTNeoReader(model) if GPTNeoReader.fits(model) else LibraryReader(model)


def without_gradients(reader: Reader) -> AbstractContextManager:
    """Inference mode where it is safe: what a library model builds and keeps may need gradients."""
    return torch.inference_mode() if isinstance(reader, GPTNeoReader) else torch.no_grad()


def check_tokens(model: PreTrainedModel, tokens: ArrayLike) -> Tensor:
    """Token ids as an (N, T) int64 tensor on the model's device.

    Raises:
        InputError: not two dimensions, fewer than two tokens a sequence, or ids outside the
            vocabulary.
    """
    rows = torch.as_tensor(np.asarray(tokens) if not isinstance(tokens, Tensor) else tokens)
    if rows.ndim != 2 or rows.is_floating_point():
        raise InputError(
            f"tokens: expected integers of shape (sequences, length), got {rows.dtype} of shape"
            f" {tuple(rows.shape)}"
        )
    if rows.shape[1] < 2:
        raise InputError(f"tokens: sequences of {rows.shape[1]} tokens; at least 2 are needed")
    vocabulary = model.get_input_embeddings().num_embeddings
    outside = (rows < 0) | (rows >= vocabulary)
    if outside.any():
        row, column = (int(i) for i in outside.nonzero()[0])
        raise InputError(
            f"tokens: id {int(rows[row, column])} at row {row}, column {column} is outside the"
            f" model's vocabulary of {vocabulary}; use the tokenizer of this model"
        )
    return rows.to(model.device, torch.int64)


@torch.no_grad()
def score_hidden(
    reader: Reader, hidden: Tensor, truth: Tensor, moments: bool = False
) -> list[Tensor]:
    """Hits, greedy token, log p(truth), mean and std of log p, (n,) each, as in `TokenScores`.

    Args:
        reader: the model.
        hidden: (n, width) last hidden states.
        truth: (n,) the true next tokens.
        moments: also mean and std; NaN without.
    """
    scored, first, place = [], 0, None
    for logits in reader.logits(hidden):
        if moments and place is None:
            place = torch.empty_like(logits)
        true = truth[first : first + len(logits)]
        scored.append(_score_logits(logits, true, place[: len(logits)] if moments else None))
        first += len(logits)
    return [torch.cat(slices) for slices in zip(*scored, strict=True)]


def _score_logits(logits: Tensor, truth: Tensor, place: Tensor | None) -> tuple[Tensor, ...]:
    """Hits, greedy token, log p(truth), mean and std of log p; overwrites logits and place.

    Both are (c, V); without a place there are no moments.
    """
    top, greedy = greatest(logits)
    shifted = logits.sub_(top[:, None])
    chosen = shifted.gather(1, truth[:, None])[:, 0]
    if place is not None:
        weights = torch.exp(shifted, out=place)
        total = weights.sum(dim=-1)
        # about the greatest logit, which is near where the weight is: no digits cancel
        average = weights.mul_(shifted).sum(dim=-1) / total
        square = weights.mul_(shifted).sum(dim=-1) / total
        mean = average - total.log()
        std = (square - average.square()).clamp(min=0).sqrt()
    else:
        total = shifted.exp_().sum(dim=-1)
        mean = std = torch.full_like(total, torch.nan)
    return greedy == truth, greedy, chosen - total.log(), mean, std
