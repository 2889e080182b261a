"""Which row of the user's files plays which part: forget pool, retained, unseen, tasks."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from unlearning.data.challenge.published import read_rows as published_rows
from unlearning.data.challenge.tasks import items_of
from unlearning.data.corpus import Corpus
from unlearning.data.corpus.tokens import encode, first_within, pack, stretches
from unlearning.data.own.files import Row, read_rows
from unlearning.data.sequences import draw_forget_sets, table_of
from unlearning.evaluation.items import check_item
from unlearning.jobs.errors import InputError, first_line
from unlearning.settings.own import OwnSettings


@dataclass(frozen=True)
class Reader:
    """What the models have in common: how text becomes tokens, and which tokens there are.

    Attributes:
        tokenizers: name of each model -> its tokenizer; all give the same ids.
        vocabulary: ids that every model has, from 0.
    """

    tokenizers: Mapping[str, PreTrainedTokenizerBase]
    vocabulary: int

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The first model's."""
        return next(iter(self.tokenizers.values()))

    def encoded(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, no special tokens added.

        Raises:
            InputError: the models do not agree on them.
        """
        (first, tokenizer), *others = self.tokenizers.items()
        ids = encode(tokenizer, texts)
        for name, other in others:
            if other.get_vocab() != tokenizer.get_vocab() or encode(other, texts) != ids:
                raise InputError(
                    f"models: '{first}' and '{name}' have different tokenizers; the models of a"
                    " config read the same tokens: give each its own config"
                )
        return ids


@dataclass(frozen=True)
class Sequences:
    """The sequences of one file.

    Attributes:
        tokens: sequence_id -> (T,) int32.
        places: where each stands, for messages.
        dropped: rows that were left out as too short.
    """

    tokens: dict[str, np.ndarray]
    places: list[str]
    dropped: int


def prepare(
    settings: OwnSettings,
    models: Mapping[str, Path],
    sizes: Sequence[int],
    seeds: Sequence[int],
    kinds: Mapping[str, str],
    limit: int | None = None,
) -> tuple[Corpus, pd.DataFrame, dict[str, dict[str, Any]]]:
    """Read the files and give every sequence its part.

    Args:
        settings: see the class.
        models: name -> folder, for their tokenizers and sizes.
        sizes: forget-set sizes.
        seeds: draws of forget sets.
        kinds: name of each task -> its kind.
        limit: for trials: at most so many retained sequences, and unseen ones of each half.

    Returns:
        The corpus; the forget sets (columns as `sequences.draw_forget_sets`); and of each file its
        path, digest, rows used and rows dropped, of the unseen ones also how many are `akin` to
        known ones: thresholds are too lax where these are many.

    Raises:
        InputError: a file or a row cannot be used, or does not go with the others.
    """
    reader = reader_of(models, settings.sequence_length)
    parts = {
        part: read_sequences(part, getattr(settings, part), reader, settings)
        for part in ("forget", "retained", "unseen")
        if getattr(settings, part) is not None
    }
    check_apart(parts, settings.sequence_length)
    pool, dropped = list(parts["forget"].tokens), parts["forget"].dropped
    if max(sizes) > len(pool):
        raise InputError(
            f"forget_sets.sizes: {max(sizes)} is larger than the {len(pool)} sequences of"
            f" {settings.forget}"
            + (f", where {dropped} were dropped as too short" if dropped else "")
            + "; lower it"
        )
    background = background_of(settings, reader, parts)
    unseen = list(parts["unseen"].tokens.items())
    if len(unseen) < 2:
        raise InputError(
            f"{settings.unseen}: has {len(unseen)} sequence; two halves need at least 2, and"
            " thresholds are as sure as there are many: give hundreds if you can"
        )
    order = np.random.default_rng(settings.seed).permutation(len(unseen))[: limit and 2 * limit]
    retained = dict(list(parts["retained"].tokens.items())[:limit]) if "retained" in parts else {}
    planted = parts["forget"].tokens | retained
    sequences = table_of(
        planted,
        dict(unseen[i] for i in order),
        [1] * len(planted),  # at least: how often they stood in training text is not known
        ["forget pool"] * len(pool) + ["retained"] * len(retained) + ["unseen"] * len(order),
    )
    items = {task: task_items(task, kind, settings) for task, kind in kinds.items()}
    corpus = Corpus(reader.tokenizer, background, background[:0], sequences, items)
    used = {part: (len(found.tokens), found.dropped) for part, found in parts.items()}
    used["background"] = (len(background), 0)
    used |= {f"tasks.{task}": (len(items[task]), 0) for task in settings.tasks}
    given = {
        key: {
            "path": path,
            "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
            "used": used[key][0],
            "dropped": used[key][1],
        }
        for key, path in settings.files().items()
    }
    given["unseen"]["akin"] = akin(parts)
    return corpus, draw_forget_sets(pool, sizes, seeds), given


def reader_of(models: Mapping[str, Path], length: int) -> Reader:
    """What the models have in common.

    Args:
        models: name -> folder.
        length: tokens of a sequence.

    Raises:
        InputError: a tokenizer cannot be loaded or has no end-of-text token, or a model cannot
            read so many tokens.
    """
    tokenizers, sizes = {}, []
    for name, folder in models.items():
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder))
            config = AutoConfig.from_pretrained(str(folder)).get_text_config()
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"models.{name}: its tokenizer or config.json cannot be loaded"
                f" ({first_line(error)}); give a model folder that transformers can load"
            ) from None
        if tokenizer.eos_token_id is None:
            raise InputError(
                f"models.{name}: its tokenizer has no end-of-text token (eos_token); set one"
            )
        context = getattr(config, "max_position_embeddings", None)
        if context is not None and context < length:
            raise InputError(
                f"own.sequence_length: {length} is more than the {context} tokens that model"
                f" '{name}' can read; lower it"
            )
        tokenizers[name] = tokenizer
        sizes.append(config.vocab_size)
    reader = Reader(tokenizers, min(sizes))
    reader.encoded([])  # files of ids alone ask for one vocabulary too
    return reader


def read_sequences(part: str, path: str, reader: Reader, settings: OwnSettings) -> Sequences:
    """The sequences of one file, cut to one length.

    Args:
        part: its key under `own`; ids begin with it.
        path: the file.
        reader: of the models.
        settings: length, and what to do with rows that are too short.

    Raises:
        InputError: a row has neither or both of `text` and `tokens`, a wrong type, an id that
            another has, an id of a token that there is not, or too few tokens; or none is left.
    """
    rows, length = read_rows(path), settings.sequence_length
    given = [_content(row) for row in rows]
    texts = iter(reader.encoded([value for value in given if isinstance(value, str)]))
    tokens: dict[str, np.ndarray] = {}
    places: dict[str, str] = {}
    dropped = 0
    for row, value in zip(rows, given, strict=True):
        ids = next(texts) if isinstance(value, str) else value
        outside = [token for token in ids if not 0 <= token < reader.vocabulary]
        if outside:
            raise InputError(
                f"{row.where}: token id {outside[0]} is not one of the models' {reader.vocabulary}"
                " (from 0); give ids of their own tokenizer"
            )
        if len(ids) < length and settings.too_short == "drop":
            dropped += 1
            continue
        if len(ids) < length:
            raise InputError(
                f"{row.where}: has {len(ids)} tokens, a sequence has {length}; lower"
                " own.sequence_length, or leave such rows out with `too_short: drop`"
            )
        name = f"{part}-{_name(row)}"
        if name in tokens:
            raise InputError(f"{row.where}: its id is that of {places[name]}; make ids unique")
        tokens[name] = np.array(ids[:length], dtype=np.int32)
        places[name] = row.where
    if not tokens:
        raise InputError(
            f"{path}: no row has {length} tokens; lower own.sequence_length or give longer texts"
        )
    return Sequences(tokens, list(places.values()), dropped)


def _content(row: Row) -> str | list[int]:
    """The text of a row, or its token ids."""
    found = {key: row.values.get(key) for key in ("text", "tokens")}
    found = {key: value for key, value in found.items() if value is not None}
    if len(found) != 1:
        wrong = (
            "both `text` and `tokens`; give one"
            if found
            else ("no `text` and no `tokens`; name the column so and fill it")
        )
        raise InputError(f"{row.where}: has {wrong}")
    ((key, value),) = found.items()
    if key == "text":
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{row.where}: `text` is no text or an empty one; correct it")
        return value
    if isinstance(value, str):  # a cell of a CSV file
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, list) or not all(type(token) is int for token in value):
        raise InputError(f"{row.where}: `tokens` is no list of whole numbers, as [5, 17]")
    return value


def _name(row: Row) -> str:
    """The id of a row: its own, or its number."""
    name = row.values.get("id")
    if name is None:
        return f"{row.number:05d}"
    if type(name) not in (str, int) or not str(name).strip():
        raise InputError(f"{row.where}: `id` is neither a word nor a whole number; correct it")
    return str(name)


def check_apart(parts: Mapping[str, Sequences], length: int) -> None:
    """Hold the parts apart: a sequence stands once in one file.

    Raises:
        InputError: two rows are the same, as far as they are read.
    """
    where: dict[bytes, str] = {}
    for found in parts.values():
        for row, place in zip(found.tokens.values(), found.places, strict=True):
            other = where.setdefault(row.tobytes(), place)
            if other != place:
                raise InputError(
                    f"{place}: its first {length} tokens are those of {other}; a sequence plays"
                    " one part: remove one of them"
                )


def akin(parts: Mapping[str, Sequences]) -> int:
    """How many unseen sequences share a stretch of `tokens.APART` tokens with a known one."""
    known: set[bytes] = set()
    for part in set(parts) - {"unseen"}:
        known.update(*map(stretches, parts[part].tokens.values()))
    return sum(not known.isdisjoint(stretches(row)) for row in parts["unseen"].tokens.values())


def background_of(
    settings: OwnSettings, reader: Reader, parts: Mapping[str, Sequences]
) -> np.ndarray:
    """Ordinary text as token rows, (N, T); N is 0 where none is given.

    Raises:
        InputError: a row has no text, there is too little, or a sequence stands in it that must
            not be trained on.
    """
    length = settings.sequence_length
    if settings.background is None:
        return pack(reader.tokenizer, [], length)
    texts = []
    for row in read_rows(settings.background):
        text = _content(row)
        if not isinstance(text, str):
            raise InputError(f"{row.where}: background has `text`, not `tokens`")
        texts.append(text)
    reader.encoded(texts)  # all models agree
    rows = pack(reader.tokenizer, texts, length)
    if not len(rows):
        raise InputError(
            f"{settings.background}: has fewer than {length} tokens; give more, or leave it out"
        )
    if rows.max() >= reader.vocabulary:
        raise InputError(
            f"{settings.background}: its text has token ids that a model does not know"
            f" ({reader.vocabulary} from 0); the tokenizer is not the model's"
        )
    for part in ("forget", "unseen"):
        found = first_within(np.stack(list(parts[part].tokens.values())), rows)
        if found is not None:
            raise InputError(
                f"{parts[part].places[found]}: stands in {settings.background} too, which may be"
                " trained on; remove it there"
            )
    return rows


def task_items(task: str, kind: str, settings: OwnSettings) -> list[dict[str, Any]]:
    """The items of a task: of the user's file where there is one, or as published.

    Raises:
        InputError: an item cannot be used.
    """
    if task in settings.tasks:
        return [check_item(row.values, kind, row.where) for row in read_rows(settings.tasks[task])]
    return items_of(task, published_rows(task, settings.mirror))
