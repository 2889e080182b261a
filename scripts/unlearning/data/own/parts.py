"""Which row of the user's files plays which part: forget pool, retained, unseen, tasks.

Every row keeps its own length. Windows cut longer rows where that is asked for, and unseen rows are
cut to the lengths of those to be forgotten, so that thresholds, bands and attacks compare like with
like; whatever is cut, dropped or read otherwise than written is counted.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from unlearning.data.challenge.published import read_rows as published_rows
from unlearning.data.challenge.tasks import items_of
from unlearning.data.corpus import Corpus
from unlearning.data.corpus.tokens import encode, first_within, pack, stretches
from unlearning.data.own.entries import read_entries, read_own_items, strings_of
from unlearning.data.own.files import Faults
from unlearning.data.sequences import draw_forget_sets, table_of
from unlearning.jobs.errors import InputError, first_line
from unlearning.settings.own import OwnSettings

SHORT = 0.8
"""An unseen row with fewer than so much of the tokens that it should have is told of."""


COUNTS = ("rows", "blank", "dropped", "windowed", "repeated", "special")


@dataclass(frozen=True)
class Reader:
    """What the models have in common: how text becomes tokens, and which tokens there are.

    Attributes:
        tokenizers: name of each model -> its tokenizer; all give the same ids.
        vocabulary: ids that every model has, from 0.
        context: tokens that every model can read at once; None is no limit.
        bos: the beginning-of-text token that sequences begin with; None is none.
    """

    tokenizers: Mapping[str, PreTrainedTokenizerBase]
    vocabulary: int
    context: int | None
    bos: int | None

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The first model's."""
        return next(iter(self.tokenizers.values()))

    def encoded(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, as the characters it is written with; no special tokens added.

        Raises:
            InputError: the models do not agree on them.
        """
        (first, tokenizer), *others = self.tokenizers.items()
        ids = encode(tokenizer, texts, literal=True)
        for name, other in others:
            if (
                other.get_vocab() != tokenizer.get_vocab()
                or encode(other, texts, literal=True) != ids
            ):
                raise InputError(
                    f"models: '{first}' and '{name}' have different tokenizers; the models of a"
                    " config read the same tokens: give each its own config"
                )
        return ids

    def names_special(self, text: str) -> bool:
        """Whether the name of a special token stands in a text."""
        return any(name in text for name in self.tokenizer.all_special_tokens)

    def begun(self, ids: list[int]) -> np.ndarray:
        """A sequence as the models read it: (T,) int32, begun by `bos`."""
        begin = [] if self.bos is None or ids[0] == self.bos else [self.bos]
        return np.array([*begin, *ids], dtype=np.int32)


@dataclass(frozen=True)
class Sequences:
    """The sequences of one file.

    Attributes:
        tokens: sequence_id -> (T,) int32, each of its own T.
        places: sequence_id -> where it stands, for messages.
        counts: under `COUNTS`: rows that have a value; "blank" ones, which were skipped; rows that
            were "dropped" (too short) and "windowed" (cut into windows); "repeated" windows, which
            another one equals; and rows in whose text the name of a "special" token stands.
    """

    tokens: dict[str, np.ndarray]
    places: dict[str, str]
    counts: dict[str, int]


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
        limit: for trials: at most so many retained sequences, unseen ones of each half, and items
            of each task.

    Returns:
        The corpus; the forget sets (columns as `sequences.draw_forget_sets`); and of each file its
        path, digest, how many of its sequences, items or token rows are used, their shortest,
        median and longest length, the counts of `Sequences`, how many are "begun" by a
        beginning-of-text token, and of the unseen ones also how many were "cut" to the lengths of
        the forget pool, are "short" of them, and are "akin" to known ones: thresholds are too lax
        where these are many.

    Raises:
        InputError: a file or a row cannot be used, or does not go with the others.
    """
    reader = reader_of(models, settings.bos)
    parts = read_parts(settings, reader)
    pool = list(parts["forget"].tokens)
    if max(sizes) > len(pool):
        dropped = parts["forget"].counts["dropped"]
        raise InputError(
            f"forget_sets.sizes: {max(sizes)} is larger than the {len(pool)} sequences of"
            f" {settings.forget}"
            + (f", where {dropped} were dropped as too short" if dropped else "")
            + "; lower it"
        )
    background = background_of(settings, reader, parts)
    retained = dict(list(parts["retained"].tokens.items())[:limit]) if "retained" in parts else {}
    planted = parts["forget"].tokens | retained
    unseen, cut, short = draw_unseen(parts, settings.seed, limit)
    check_apart(parts, planted | unseen)
    sequences = table_of(
        planted,
        unseen,
        [1] * len(planted),  # at least: how often they stood in training text is not known
        ["forget pool"] * len(pool) + ["retained"] * len(retained) + ["unseen"] * len(unseen),
    )
    items = {task: task_items(task, kind, settings) for task, kind in kinds.items()}
    check_items(items, reader)
    used = {"forget": parts["forget"].tokens, "retained": retained, "unseen": unseen}
    used = {part: [len(row) for row in rows.values()] for part, rows in used.items()}
    given = {}
    for key, path in settings.files().items():
        given[key] = {"path": path, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
        if key in parts:
            lengths = [int(quantile) for quantile in np.quantile(used[key], (0, 0.5, 1))]
            given[key] |= {"used": len(used[key]), "lengths": lengths} | parts[key].counts
            given[key]["begun"] = 0 if reader.bos is None else len(used[key])
        elif key == "background":
            given[key]["used"] = len(background)
        else:
            given[key]["used"] = len(items[key.removeprefix("tasks.")][:limit])
    given["unseen"] |= {"cut": cut, "short": short, "akin": akin(parts)}
    corpus = Corpus(reader.tokenizer, background, background[:0], sequences, items)
    return corpus, draw_forget_sets(pool, sizes, seeds), given


def reader_of(models: Mapping[str, Path], bos: Literal["auto"] | bool) -> Reader:
    """What the models have in common.

    Args:
        models: name -> folder.
        bos: see `OwnSettings`.

    Raises:
        InputError: a tokenizer cannot be loaded, has no end-of-text token, or no beginning-of-text
            token where one is asked for; a model is no causal language model; or the models do not
            begin texts alike.
    """
    tokenizers, sizes, contexts, begins = {}, [], [], set()
    for name, folder in models.items():
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
            config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
            kind, config = config.model_type, config.get_text_config()
            sizes.append(int(config.vocab_size))
            context = getattr(config, "max_position_embeddings", None)
            contexts.append(None if context is None else int(context))
            alone = tokenizer("a")["input_ids"]  # some files are wrong only where they are used
            encode(tokenizer, ["a"], literal=True)
        except Exception as error:  # the libraries raise whatever a wrong file leads them to
            raise InputError(
                f"models.{name}: its tokenizer or config.json cannot be loaded"
                f" ({first_line(error)}); give a model folder that transformers can load"
            ) from None
        if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            raise InputError(
                f"models.{name}: a model of type '{kind}' has no head that predicts the next token;"
                " give a causal language model"
            )
        if tokenizer.eos_token_id is None:
            raise InputError(
                f"models.{name}: its tokenizer has no end-of-text token (eos_token); set one"
            )
        begin = tokenizer.bos_token_id
        if bos is True and begin is None:
            raise InputError(
                f"own.bos: the tokenizer of model '{name}' has no beginning-of-text token"
                " (bos_token); give false or auto"
            )
        # by itself a tokenizer begins a text as its makers trained the model
        wanted = alone[:1] == [begin] if bos == "auto" else bos
        begins.add(begin if wanted else None)
        tokenizers[name] = tokenizer
    if len(begins) > 1:
        raise InputError(
            "own.bos: the models' tokenizers do not begin texts alike; give true or false"
        )
    context = min((tokens for tokens in contexts if tokens is not None), default=None)
    reader = Reader(tokenizers, min(sizes), context, begins.pop())
    reader.encoded([])  # files of ids alone ask for one vocabulary too
    return reader


def pool_of(settings: OwnSettings, folder: Path) -> int:
    """How many sequences there are to be forgotten, by the tokenizer of a model's folder.

    Raises:
        InputError: as `read_sequences`.
    """
    reader = reader_of({folder.name: folder}, settings.bos)
    return len(read_sequences("forget", settings.forget, reader, settings).tokens)


def read_parts(settings: OwnSettings, reader: Reader) -> dict[str, Sequences]:
    """The sequences of all files, whole or in windows, held apart.

    Raises:
        InputError: a row cannot be used, one sequence plays two parts, or there are fewer than two
            unseen ones.
    """
    parts = {
        part: read_sequences(part, getattr(settings, part), reader, settings)
        for part in ("forget", "retained", "unseen")
        if getattr(settings, part) is not None
    }
    check_apart(parts)
    if len(parts["unseen"].tokens) < 2:
        raise InputError(
            f"{settings.unseen}: has {len(parts['unseen'].tokens)} sequence; two halves need at"
            " least 2, and thresholds are as sure as there are many: give hundreds if you can"
        )
    return parts


def read_sequences(part: str, path: str, reader: Reader, settings: OwnSettings) -> Sequences:
    """The sequences of one file, each of its own length.

    Args:
        part: its key under `own`; ids begin with it.
        path: the file.
        reader: of the models.
        settings: what to do with rows that are too short or too long.

    Raises:
        InputError: rows that `read_entries` refuses, have an id of a token that there is not, too
            few tokens, or more than a model can read; all in one line. Or none is left.
    """
    entries, faults = read_entries(part, path), Faults(path)
    texts = [entry.content for entry in entries.rows if isinstance(entry.content, str)]
    counts = dict.fromkeys(COUNTS, 0) | {"rows": len(entries.rows), "blank": entries.blank}
    counts["special"] = sum(map(reader.names_special, texts))
    encoded = iter(reader.encoded(texts))
    tokens: dict[str, np.ndarray] = {}
    places: dict[str, str] = {}
    windows: set[bytes] = set()
    for entry in entries.rows:
        ids = next(encoded) if isinstance(entry.content, str) else entry.content
        if (len(ids) < settings.minimum and settings.too_short == "drop") or not ids:
            counts["dropped"] += 1
            continue
        wrong = _wrong(ids, reader, settings)
        if wrong is not None:
            faults.add(entry.where, wrong)
            continue
        cut = [ids] if settings.window is None else windows_of(ids, settings)
        counts["windowed"] += len(cut) > 1
        for number, window in enumerate(cut, start=1):
            name = f"{part}-{entry.name}" + (f"#{number}" if len(cut) > 1 else "")
            row = reader.begun(window)
            if name in tokens:
                faults.add(entry.where, f"its id is that of {places[name]}; make ids unique")
            # long texts share their heads and feet: such a window is one sequence
            if len(cut) > 1 and row.tobytes() in windows:
                counts["repeated"] += 1
                continue
            windows.add(row.tobytes())
            tokens[name], places[name] = row, entry.where
    faults.check()
    if not tokens:
        raise InputError(
            f"{path}: no row has {settings.minimum} tokens; lower own.minimum or give longer texts"
        )
    return Sequences(tokens, places, counts)


def _wrong(ids: list[int], reader: Reader, settings: OwnSettings) -> str | None:
    """What is wrong with the tokens of a row; None if nothing is."""
    outside = [token for token in ids if not 0 <= token < reader.vocabulary]
    if outside:
        known = outside[0] if abs(outside[0]) < 2**63 else "(a huge one)"
        return (
            f"token id {known} is not one of the models' {reader.vocabulary} (from 0); give ids of"
            " their own tokenizer, or a tokenizer that is no larger than the model"
        )
    if len(ids) < settings.minimum:
        return (
            f"has {len(ids)} tokens, a sequence has {settings.minimum} or more; lower own.minimum,"
            " or leave such rows out with `too_short: drop`"
        )
    length = len(ids) + (reader.bos is not None)
    if settings.window is None and reader.context is not None and length > reader.context:
        return (
            f"has {length} tokens, more than the {reader.context} that a model can read at once;"
            " give `window` to cut such rows into windows"
        )
    return None


def windows_of(ids: list[int], settings: OwnSettings) -> list[list[int]]:
    """The row cut into windows one after the other; every token stands in exactly one."""
    starts = list(range(0, len(ids), settings.window))
    if len(ids) - starts[-1] < settings.minimum and len(starts) > 1:
        starts.pop()
    return [ids[start:end] for start, end in zip(starts, [*starts[1:], len(ids)], strict=True)]


def check_apart(
    parts: Mapping[str, Sequences], chosen: Mapping[str, np.ndarray] | None = None
) -> None:
    """Hold the parts apart: a sequence stands once in one file.

    Args:
        parts: the files.
        chosen: sequence_id -> tokens, as far as they are read; None is all of all files.

    Raises:
        InputError: two rows are the same, as far as they are read.
    """
    places = {name: place for found in parts.values() for name, place in found.places.items()}
    if chosen is None:
        chosen = {name: row for found in parts.values() for name, row in found.tokens.items()}
    where: dict[bytes, str] = {}
    faults = Faults("")
    for name, row in chosen.items():
        other = where.setdefault(row.tobytes(), name)
        if other != name:
            faults.add(
                places[name],
                f"its first {len(row)} tokens are those of {places[other]}; a sequence plays one"
                " part: remove one of them",
            )
    faults.check()


def draw_unseen(
    parts: Mapping[str, Sequences], seed: int, limit: int | None
) -> tuple[dict[str, np.ndarray], int, int]:
    """The unseen sequences in the order of their halves, as long as those to be forgotten.

    A short text is harder to predict by chance and to tell apart than a long one: what is compared
    must be of like length, in either half.

    Args:
        parts: the files.
        seed: draws the halves.
        limit: at most so many of each half.

    Returns:
        sequence_id -> tokens, the first half before the second; how many were cut; and how many
        have fewer than `SHORT` of the tokens that they should have.
    """
    rows = list(parts["unseen"].tokens.items())
    order = np.random.default_rng(seed).permutation(len(rows))[: limit and 2 * limit]
    lengths = [len(row) for row in parts["forget"].tokens.values()]
    drawn, cut, short = {}, 0, 0
    for half in (order[: len(order) // 2], order[len(order) // 2 :]):
        goals = goals_of([len(rows[i][1]) for i in half], lengths).tolist()
        for (name, row), goal in zip([rows[i] for i in half], goals, strict=True):
            drawn[name] = row[:goal]
            cut += len(row) > goal
            short += len(row) < SHORT * goal
    return drawn, cut, short


def goals_of(lengths: Sequence[int], wanted: Sequence[int]) -> np.ndarray:
    """How long each of some rows should be: spread as `wanted` is, the longest for the longest.

    Args:
        lengths: of the rows, (N,).
        wanted: any number of lengths.

    Returns:
        (N,) the quantiles of `wanted` that the rows' ranks are; of equally long rows the first has
        the shortest.
    """
    ranks = (np.arange(len(lengths)) + 0.5) / len(lengths)
    goals = np.empty(len(lengths), dtype=int)
    goals[np.argsort(lengths, kind="stable")] = np.sort(wanted)[(ranks * len(wanted)).astype(int)]
    return goals


def akin(parts: Mapping[str, Sequences]) -> int:
    """How many unseen sequences share a stretch of `APART` tokens with a known one."""
    known: set[bytes] = set()
    for part in set(parts) - {"unseen"}:
        known.update(*map(stretches, parts[part].tokens.values()))
    return sum(not known.isdisjoint(stretches(row)) for row in parts["unseen"].tokens.values())


def background_of(
    settings: OwnSettings, reader: Reader, parts: Mapping[str, Sequences]
) -> np.ndarray:
    """Ordinary text as token rows, (N, T), as long as the longest sequence to be forgotten.

    N is 0 where none is given.

    Raises:
        InputError: a row has no text, there is too little, or a sequence stands in it that must
            not be trained on.
    """
    length = max(len(row) for row in parts["forget"].tokens.values())
    if settings.background is None:
        return pack(reader.tokenizer, [], length)
    texts = [entry.content for entry in read_entries("background", settings.background).rows]
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
        begun = int(reader.bos is not None)
        found = first_within([row[begun:] for row in parts[part].tokens.values()], rows)
        if found is not None:
            raise InputError(
                f"{list(parts[part].places.values())[found]}: stands in {settings.background} too,"
                " which may be trained on; remove it there"
            )
    return rows


def task_items(task: str, kind: str, settings: OwnSettings) -> list[dict[str, Any]]:
    """The items of a task: of the user's file where there is one, or as published.

    Raises:
        InputError: an item cannot be used.
    """
    if task in settings.tasks:
        return read_own_items(kind, settings.tasks[task])
    return items_of(task, published_rows(task, settings.mirror))


def check_items(items: Mapping[str, list[dict[str, Any]]], reader: Reader) -> None:
    """Hold the tasks' texts to the tokens that there are.

    Raises:
        InputError: the tokenizer is larger than a model, and a text has a token that this lacks.
    """
    if max(map(len, reader.tokenizers.values())) <= reader.vocabulary:
        return
    for task, found in items.items():
        for number, item in enumerate(found, start=1):
            for ids in encode(reader.tokenizer, strings_of(item)):
                if max(ids, default=0) >= reader.vocabulary:
                    raise InputError(
                        f"measurement.tasks: item {number} of '{task}' has token {max(ids)}, and a"
                        f" model knows {reader.vocabulary} (from 0): its tokenizer is larger than"
                        " its embedding; take that item out, or enlarge the embedding"
                    )
