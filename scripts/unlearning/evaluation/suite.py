"""Scoring a loaded model on the suite, with lm-eval as engine and task files of our own.

The built-in tasks of lm-eval ask with other prompts than the paper and load from a hub; ours are
one YAML file per kind in tasks/, filled with items from local files. Nothing here reaches for a
network or writes a file.

How an item meets the model:

- choice, last_word: context and continuation are encoded together and split after the context's
  own tokens (white space at the end of the context counts as the continuation's). An empty context
  is the tokenizer's beginning-of-text token, or its end-of-text token where it has no other.
- dialogue: greedy decoding of at most 32 tokens, cut at the first newline or end-of-text token.
- perplexity: the text is encoded without special tokens, and its *first* token is scored too, given
  the beginning-of-text token (as above), so an item's weight is the number of its tokens. A text
  longer than the model's context is cut into consecutive windows of that length. A window sees of
  the text before it only the last token; what is left at the end is predicted from as much text as
  the model can see.
- A context too long for the model keeps its end; a dialogue context leaves room for the reply.
- A value is NaN where the model's log-probability is not a number; a dialogue task is NaN as a
  whole if any of its logits is. A model whose weights are not all finite is not run: all NaN.

`published` mimics the code of Jang et al. 2023 where it differs, for comparisons with its numbers:

- Contexts and continuations are encoded apart. Each keeps its first 512 tokens, and both together
  their last 512.
- A last word counts as right too if the most likely tokens, each after the true ones, read like it
  but for case, punctuation and articles.
- A reply is cut where the next speaker is announced, not at a newline.
- Of a text the first 512 tokens are read, and the first of them is not scored.
"""

import copy
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from unlearning.evaluation.items import Task, check_tasks, read_items
from unlearning.evaluation.scoring import words
from unlearning.jobs.errors import InputError
from unlearning.jobs.progress import progress
from unlearning.memorization.scoring import reader_of, score_hidden

TASK_FILES = Path(__file__).parent / "tasks"
PUBLISHED_WINDOW = 512  # tokens
_UNLIMITED = int(1e30)  # transformers' own value for a tokenizer without a length limit


@dataclass(frozen=True)
class LoadedTask:
    """A task ready to be put to any model with the suite's tokenizer.

    Attributes:
        task: what it was loaded from.
        items: as `items.read_items` returns them; perplexity items also count their `tokens`.
        harness: lm-eval's task object.
        requests: lm-eval's requests, those of one item together.
        longest: tokens and line number of the longest choice or target (0, 0 for other kinds).
    """

    task: Task
    items: list[dict[str, Any]]
    harness: ConfigurableTask
    requests: list[list[Instance]]
    longest: tuple[int, int]


@dataclass(frozen=True)
class Suite:
    """Tasks with their requests, built once, and the tokenizer they are for."""

    tasks: list[LoadedTask]
    tokenizer: Tokenizer
    published: bool = False
    # text -> token ids: the same texts are put to every model, so they are encoded once
    encodings: dict[Any, list[int]] = field(default_factory=dict, repr=False)


def load_suite(
    tasks: list[Task],
    tokenizer: Tokenizer,
    *,
    limit: int | None = None,
    published: bool = False,
) -> Suite:
    """Read and check all tasks; the suite then serves every model with this tokenizer.

    Args:
        tasks: the suite, in the order of its results.
        tokenizer: of the models to come; needs an end-of-text token. It is copied, not changed.
        limit: use only the first so many items of each task.
        published: score as the published code does, see above.

    Raises:
        InputError: the list of tasks or an item is wrong (`items`), a choice or target adds no
            token to its context, or the tokenizer has no end-of-text token.
    """
    check_tasks(tasks)
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"tokenizer {tokenizer.name_or_path}: it has no end-of-text token (eos_token); set one"
        )
    tokenizer = copy.deepcopy(tokenizer)
    # unlimited, the model's own limit rules
    tokenizer.model_max_length = PUBLISHED_WINDOW if published else _UNLIMITED
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    with _quiet():
        loaded = [_load(task, tokenizer, limit, published) for task in tasks]
    return Suite(loaded, tokenizer, published)


def evaluate(
    suite: Suite, model: PreTrainedModel, tokenizer: Tokenizer, *, batch_size: int = 64
) -> pd.DataFrame:
    """Score a model item by item.

    Args:
        suite: what to ask.
        model: a causal language model; it is put into evaluation mode.
        tokenizer: the model's; the one the suite was built for.
        batch_size: requests per forward pass; no influence on the result beyond rounding.

    Returns:
        Columns task, kind, item (position in its file, from 0), value and weight, in task and item
        order. The value is 0 or 1 for choice and last_word, F1 in 0..1 for dialogue, and the
        item's summed nats for perplexity; the weight is the number of scored tokens for perplexity
        and 1 otherwise.

    Raises:
        InputError: the tokenizer is not the suite's, or the model's context is too short for a
            task.
    """
    if tokenizer.get_vocab() != suite.tokenizer.get_vocab():
        raise InputError(
            f"tokenizer {tokenizer.name_or_path}: the suite was built for another vocabulary; load"
            " the suite with the model's own tokenizer"
        )
    with _quiet(), torch.no_grad():
        finite = all(bool(weight.isfinite().all()) for weight in model.parameters())
        engine = _Engine(model, suite, batch_size) if finite else None
        tasks = progress(suite.tasks, desc="NLP suite", unit="task")
        tables = [_score(loaded, engine) for loaded in tasks]
    return pd.concat(tables, ignore_index=True)


def in_memory(items: list[dict[str, Any]], **_: Any) -> dict[str, datasets.Dataset]:
    """Items as the split that the task files name; they stay in memory (lm-eval calls this)."""
    return {"test": datasets.Dataset.from_list(items)}


def _load(task: Task, tokenizer: Tokenizer, limit: int | None, published: bool) -> LoadedTask:
    items = read_items(task, limit)
    if task.kind == "perplexity":
        for item in items:
            count = len(tokenizer.encode(item["text"], add_special_tokens=False))
            item["tokens"] = min(count, PUBLISHED_WINDOW) - 1 if published else count
    manager = TaskManager(
        include_path=TASK_FILES, include_defaults=False, metadata={"items": items}
    )
    name = "dialogue_published" if published and task.kind == "dialogue" else task.kind
    harness = manager.load(name)["tasks"][name]
    requests = []
    for position, item in enumerate(items):
        built = harness.construct_requests(
            item, harness.fewshot_context(item, 0), metadata=(task.name, position, 1)
        )
        requests.append(built if isinstance(built, list) else [built])
    longest = (0, 0)
    if task.kind in ("choice", "last_word") and not published:
        longest = max(
            (_added_tokens(request.args, tokenizer, task.path, item["line"]), item["line"])
            for item, group in zip(items, requests, strict=True)
            for request in group
        )
    return LoadedTask(task, items, harness, requests, longest)


def _added_tokens(pair: tuple[str, str], tokenizer: Tokenizer, path: Path, line: int) -> int:
    """How many tokens a continuation adds to its context; at least one, or `InputError`."""
    context, continuation = pair
    before = tokenizer.encode(context.rstrip()) if context else []
    added = len(tokenizer.encode(context + continuation, add_special_tokens=bool(context)))
    added -= len(before)
    if added < 1:
        raise InputError(
            f"{path} line {line}: {continuation!r} adds no token to its context; begin it with a"
            " space"
        )
    return added


def _score(loaded: LoadedTask, engine: "_Engine | None") -> pd.DataFrame:
    """One task's part of the table; without an engine all values are NaN."""
    if engine is None:
        values = [math.nan] * len(loaded.items)
    else:
        engine.check_fit(loaded)
        flat = [request for group in loaded.requests for request in group]
        ask = getattr(engine, flat[0].request_type)
        engine.met_nan = False
        answers = iter(ask(flat, disable_tqdm=True))
        values = []
        for item, group in zip(loaded.items, loaded.requests, strict=True):
            result = loaded.harness.process_results(item, [next(answers) for _ in group])
            values += result.values()
        if engine.met_nan:
            values = [math.nan] * len(values)
    return pd.DataFrame(
        {
            "task": loaded.task.name,
            "kind": loaded.task.kind,
            "item": range(len(values)),
            "value": values,
            "weight": [item.get("tokens", 1) for item in loaded.items],
        }
    )


class _Engine(HFLM):
    """lm-eval's engine around a loaded model, silent, with encodings shared across models."""

    def __init__(self, model: PreTrainedModel, suite: Suite, batch_size: int):
        super().__init__(
            pretrained=model,
            tokenizer=suite.tokenizer,
            backend="causal",
            batch_size=batch_size,
            softmax_dtype="float32",  # sums of half-precision log-probabilities tie too often
            truncation=suite.published,  # of the contexts of replies, at their end
        )
        self.met_nan = False
        self._published = suite.published
        self._encodings = suite.encodings
        self._reader = reader_of(model)

    def check_fit(self, loaded: LoadedTask) -> None:
        """Raise `InputError` if the model's context is too short for a task."""
        tokens, line = loaded.longest
        if tokens > self.max_length:
            raise InputError(
                f"{loaded.task.path} line {line}: {tokens} tokens to score, but the model's context"
                f" holds {self.max_length}; shorten it"
            )
        generation = loaded.harness.config.generation_kwargs
        if generation and generation["max_gen_toks"] >= self.max_length:
            raise InputError(
                f"task '{loaded.task.name}': the model's context of {self.max_length} tokens leaves"
                f" no room for a reply of {generation['max_gen_toks']}; drop the task"
            )

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        key = (string, add_special_tokens, self.add_bos_token, *kwargs.items())
        if key not in self._encodings:
            self._encodings[key] = super().tok_encode(string, add_special_tokens, **kwargs)
        return self._encodings[key]

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        if not self._published:
            return super()._encode_pair(context, continuation)
        before = self.tok_encode(context)[:PUBLISHED_WINDOW]
        after = self.tok_encode(continuation, add_special_tokens=False)[:PUBLISHED_WINDOW]
        excess = len(before) + len(after) - PUBLISHED_WINDOW
        return before[max(0, min(excess, len(before) - 1)) :], after

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        if self._published:
            texts = [
                self.tok_encode(request.args[0], add_special_tokens=False)[:PUBLISHED_WINDOW]
                for request in requests
            ]
            answers = self._loglikelihood_tokens([(None, text[:1], text[1:]) for text in texts])
            return [total for total, _ in answers]
        # A tokenizer that begins every text with a special token would have that token scored too.
        self.add_bos_token = False
        try:
            return super().loglikelihood_rolling(requests, disable_tqdm)
        finally:
            self.add_bos_token = None

    def _loglikelihood_tokens(
        self,
        requests: list[tuple[Any, list[int], list[int]]],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        """The engine's own answers, from the logits of the continuations alone.

        The engine makes those of the contexts and the padding too, and takes the softmax over all:
        with a vocabulary of 50,000 that is nearly all of its time.
        """
        # requests that differ in their last token alone share a row
        rows: dict[tuple[int, ...], list[int]] = {}
        for i, (_, context, continuation) in enumerate(requests):
            text = (context + continuation)[-(self.max_length + 1) : -1]
            rows.setdefault(tuple(text), []).append(i)
        order = sorted(rows, key=len, reverse=True)
        answers: list[tuple[float, bool]] = [(math.nan, False)] * len(requests)
        starts = range(0, len(order), self.batch_size)
        for first in progress(starts, desc="log-likelihoods", unit="batch"):
            batch = order[first : first + self.batch_size]
            tokens = torch.zeros(len(batch), len(batch[0]), dtype=torch.int64)
            for row, text in zip(tokens, batch, strict=True):
                row[: len(text)] = torch.tensor(text)
            hidden = self._reader.hidden(tokens.to(self.device))
            asked = [(row, i) for row, text in enumerate(batch) for i in rows[text]]
            truth = [torch.tensor(requests[i][2], device=self.device) for _, i in asked]
            parts = [
                hidden[row, len(batch[row]) - len(true) : len(batch[row])]
                for (row, _), true in zip(asked, truth, strict=True)
            ]
            _, guess, log_p, *_ = score_hidden(self._reader, torch.cat(parts), torch.cat(truth))
            lengths = [len(true) for true in truth]
            each = zip(asked, truth, guess.split(lengths), log_p.split(lengths), strict=True)
            for (_, i), true, likeliest, values in each:
                answers[i] = (float(values.sum()), self._same(likeliest, true))
        return answers

    def _same(self, guess: torch.Tensor, truth: torch.Tensor) -> bool:
        """Whether the most likely tokens are the true ones."""
        if guess.equal(truth):
            return True
        return self._published and words(self.tokenizer.decode(guess)) == words(
            self.tokenizer.decode(truth)
        )

    def _model_generate(
        self, context: torch.Tensor, max_length: int, stop: list[str], **settings: Any
    ) -> torch.Tensor:
        watch = _NaNWatch()
        tokens = super()._model_generate(
            context,
            max_length,
            stop,
            # a model saved without its end-of-text token would write on behind it
            eos_token_id=self.tokenizer.eos_token_id,
            logits_processor=LogitsProcessorList([watch]),
            **settings,
        )
        self.met_nan |= watch.met_nan
        return tokens


class _NaNWatch(LogitsProcessor):
    """Greedy decoding of logits that are not numbers yields a token all the same: take note."""

    def __init__(self) -> None:
        self.met_nan = False

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.met_nan |= bool(scores.isnan().any())
        return scores


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back lm-eval's remarks on things we do on purpose (a loaded model, cut contexts)."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
