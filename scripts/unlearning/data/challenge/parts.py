"""Which published sequence plays which part: forget pool, retained, unseen, background."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerBase

from unlearning.data.challenge.published import read_matrix, read_rows, read_tokenizer
from unlearning.data.challenge.tasks import items_of
from unlearning.data.corpus import Corpus
from unlearning.data.corpus.tokens import (
    check_contamination,
    encode,
    pack,
    stretches,
    train_tokenizer,
)
from unlearning.data.sequences import table_of
from unlearning.jobs.errors import InputError
from unlearning.settings.challenge import ChallengeSettings

PIECES = ("pile", "wikitext")
_STREAMS = ("pieces", "others", "unseen", "repetitions")  # a random stream each
TOKENIZER_ROWS = 2000  # that a tokenizer of our own is trained on


def prepare(
    settings: ChallengeSettings,
    published_sets: pd.DataFrame,
    sizes: Sequence[int],
    seeds: Sequence[int],
    tasks: Sequence[str],
) -> tuple[Corpus, pd.DataFrame]:
    """Read the published files and give every sequence its part.

    Only rows that some forget set holds are in the pool: the other thousands are memorized too,
    but no run touches them.

    Args:
        settings: see the class.
        published_sets: columns seed, position, doc_id: the published sets of 128, whose first 8
            and 32 are the smaller ones.
        sizes: forget-set sizes.
        seeds: draws; 0 to 4 are the published ones.
        tasks: names of published tasks.

    Returns:
        The corpus, and the forget sets (columns as `sequences.draw_forget_sets`).

    Raises:
        InputError: a file is missing or not what was published, or there are too few sequences.
    """
    rng = {part: np.random.default_rng([settings.seed, i]) for i, part in enumerate(_STREAMS)}
    gpt2 = read_tokenizer(settings.mirror)
    matrix = read_matrix("train", settings.mirror)
    orders = {
        seed: draw_order(len(matrix), seed, published_sets, rng_seed=settings.seed)
        for seed in seeds
    }
    if max(sizes) > len(matrix):
        raise InputError(
            f"forget_sets.sizes: {max(sizes)} is larger than the challenge's {len(matrix)} rows"
        )
    pieces = {name: _texts(name, settings.mirror) for name in PIECES}
    background_texts, held_texts = {}, {}
    for name, texts in pieces.items():
        order = rng["pieces"].permutation(len(texts))
        count = round(settings.background_share * len(texts))
        background_texts[name] = [texts[i] for i in order[:count]]
        held_texts[name] = [texts[i] for i in sorted(order[count:])]

    texts = [text for part in background_texts.values() for text in part]
    reader = _Rows(settings, gpt2, matrix, texts)
    pool, forget_sets = _forget_sets(orders, sizes, reader)
    retained = {}
    for i, row in enumerate(read_matrix("val", settings.mirror)):
        if len(retained) == settings.retained:
            break
        tokens = reader.encoded(row)
        if tokens is not None and reader.is_new(tokens):
            retained[f"val-{i:04d}"] = tokens
            reader.take(tokens)
    others = [row for row in rng["others"].permutation(len(matrix)) if row not in pool]
    once = _first(others, settings.background_rows, reader, "background_rows")
    if settings.unseen_from == "challenge":
        others = [row for row in others if row not in once]
        unseen = _first(others, settings.unseen, reader, "unseen")
    else:
        unseen = _pieces(held_texts["pile"], settings, reader, rng["unseen"])

    planted = {f"train-{row:05d}": tokens for row, tokens in sorted(pool.items())} | retained
    background = np.concatenate(
        [
            pack(reader.tokenizer, texts, reader.length),
            *[tokens[None] for tokens in once.values()],
        ]
    )
    heldout = pack(reader.tokenizer, held_texts["wikitext"], reader.length)
    # pieces that are unseen sequences stand in a perplexity task too: nothing trains on either
    check_contamination(
        np.stack(list(planted.values())), np.stack(list(unseen.values())), background, heldout[:0]
    )
    sequences = table_of(
        planted,
        {f"{settings.unseen_from}-{row:05d}": tokens for row, tokens in unseen.items()},
        rng["repetitions"].choice(settings.repetitions, len(planted)).tolist(),
        ["forget pool"] * len(pool)
        + ["retained"] * len(retained)
        + [settings.unseen_from] * len(unseen),
    )
    items = {}
    for task in tasks:
        texts = held_texts.get(task)
        items[task] = items_of(
            task,
            [{"text": text} for text in texts] if texts else read_rows(task, settings.mirror),
            settings.published_prompts,
        )
    return Corpus(reader.tokenizer, background, heldout, sequences, items), forget_sets


def draw_order(
    count: int, seed: int, published_sets: pd.DataFrame, rng_seed: int = 0
) -> np.ndarray:
    """An order of all rows whose first s are the forget set of size s: sets nest within a seed.

    For the published seeds the first 8, 32 and 128 are the published sets. What is drawn between
    them (16, 64) and beyond is ours, since the paper's own draws of these sizes cannot be repeated.

    Args:
        count: rows of the challenge.
        seed: which draw.
        published_sets: columns seed, position, doc_id.
        rng_seed: seeds our part of the draw.
    """
    generator = np.random.default_rng([rng_seed, seed, count])
    mine = published_sets[published_sets["seed"] == seed].sort_values("position")
    published = mine["doc_id"].to_numpy(copy=True)
    parts = [generator.permutation(part) for part in np.split(published, [8, 32])]
    rest = np.setdiff1d(np.arange(count), published)
    return np.concatenate([*parts, generator.permutation(rest)]).astype(int)


class _Rows:
    """Challenge rows as token rows of the run's tokenizer and length; knows which are taken."""

    def __init__(
        self,
        settings: ChallengeSettings,
        gpt2: PreTrainedTokenizerBase,
        matrix: np.ndarray,
        texts: list[str],
    ):
        self.length = settings.sequence_length
        self.round_trip = settings.text_round_trip
        self.gpt2, self.matrix = gpt2, matrix
        self.trained = settings.vocabulary is not None
        self.tokenizer = gpt2
        self._taken: set[bytes] = set()
        if self.trained:
            generator = np.random.default_rng([settings.seed, len(_STREAMS)])
            some = generator.permutation(len(matrix))[:TOKENIZER_ROWS]
            decoded = gpt2.batch_decode(matrix[some].tolist())
            self.tokenizer = train_tokenizer([*decoded, *texts], settings.vocabulary)

    def encoded(self, row: np.ndarray) -> np.ndarray | None:
        """A published row, (length,) uint16; None where it has too few tokens."""
        if not self.trained and not self.round_trip:
            return row[: self.length]
        text = self.gpt2.decode(row)
        if self.round_trip:  # blanks before punctuation are lost, as when the files were published
            text = self.gpt2.clean_up_tokenization(text)
        (tokens,) = encode(self.tokenizer, [text])
        if not self.trained:
            tokens += [self.tokenizer.eos_token_id] * self.length
        if len(tokens) < self.length:
            return None
        return np.array(tokens[: self.length], dtype=np.uint16)

    def take(self, tokens: np.ndarray) -> None:
        """Note a sequence that has its part."""
        self._taken |= {tokens.tobytes(), *stretches(tokens)}

    def is_new(self, tokens: np.ndarray) -> bool:
        """Whether a sequence is not the same as one that has its part."""
        return tokens.tobytes() not in self._taken

    def is_apart(self, tokens: np.ndarray) -> bool:
        """Whether it shares no stretch of `APART` tokens with one: licences share most of them."""
        return self._taken.isdisjoint(stretches(tokens))


def _forget_sets(
    orders: dict[int, np.ndarray], sizes: Sequence[int], reader: _Rows
) -> tuple[dict[int, np.ndarray], pd.DataFrame]:
    """The rows that some forget set holds, with their tokens, and the table of forget sets."""
    pool, rows = {}, []
    for seed, order in orders.items():
        chosen = []
        for row in order.tolist():
            if len(chosen) == max(sizes):
                break
            tokens = pool[row] if row in pool else reader.encoded(reader.matrix[row])
            # rows are all different as published, but may begin alike where they are cut
            if row in pool or (tokens is not None and reader.is_new(tokens)):
                pool[row] = tokens
                reader.take(tokens)
                chosen.append(row)
        _check_count(len(chosen), max(sizes), "forget_sets.sizes")
        for size in sizes:
            rows += [(size, seed, i, f"train-{chosen[i]:05d}") for i in range(size)]
    return pool, pd.DataFrame(rows, columns=["forget_size", "seed", "position", "sequence_id"])


def _first(rows: Sequence[int], count: int, reader: _Rows, key: str) -> dict[int, np.ndarray]:
    """The first `count` rows that have nothing in common with what is taken, with their tokens."""
    chosen: dict[int, np.ndarray] = {}
    for row in rows:
        if len(chosen) == count:
            break
        tokens = reader.encoded(reader.matrix[row])
        if tokens is not None and reader.is_apart(tokens):
            chosen[int(row)] = tokens
            reader.take(tokens)
    _check_count(len(chosen), count, f"challenge.{key}")
    return chosen


def _pieces(
    texts: list[str],
    settings: ChallengeSettings,
    reader: _Rows,
    generator: np.random.Generator,
) -> dict[int, np.ndarray]:
    """Pile pieces as unseen sequences; the few that are a token too short are left out."""
    length = reader.length
    rows = {
        i: np.array(tokens[:length], dtype=np.uint16)
        for i, tokens in enumerate(encode(reader.tokenizer, texts))
        if len(tokens) >= length
    }
    apart = [i for i in generator.permutation(sorted(rows)).tolist() if reader.is_apart(rows[i])]
    _check_count(len(apart), settings.unseen, "challenge.unseen")
    return {i: rows[i] for i in apart[: settings.unseen]}


def _check_count(found: int, wanted: int, key: str) -> None:
    if found < wanted:
        raise InputError(
            f"{key}: {wanted} sequences are asked for, the published files have {found} that fit;"
            " lower it, or challenge.sequence_length"
        )


def _texts(name: str, mirror: Path | str | None) -> list[str]:
    """The texts of the pieces, in published order."""
    return [row["text"] for row in read_rows(name, mirror)]
