"""From text to token rows: the tokenizer, packing, and the contamination check."""

from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from unlearning.jobs.errors import InputError

END_OF_TEXT = "<|endoftext|>"
APART = 32  # tokens in a row that sequences which have nothing to do with each other do not share


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with `vocabulary` entries; digits stand alone.

    Numbers in records are drawn digit by digit; split the same way, each digit is one guess.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT
    )


def encode(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], *, literal: bool = False
) -> list[list[int]]:
    """Token ids of each text, nothing added.

    Args:
        tokenizer: of the models.
        texts: what to encode.
        literal: read the name of a special token as the characters it is written with.
    """
    if not texts:  # which the tokenizer cannot take
        return []
    options = {"split_special_tokens": True} if literal else {}
    # not by the tokenizer's own back end: that would cut and pad as the tokenizer's file may say
    return tokenizer(list(texts), add_special_tokens=False, verbose=False, **options)["input_ids"]


def cut(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], length: int) -> np.ndarray:
    """The first `length` tokens of each text.

    Returns:
        uint16 array of shape (len(texts), length).

    Raises:
        InputError: a text has fewer tokens.
    """
    rows = encode(tokenizer, texts)
    short = [i for i, row in enumerate(rows) if len(row) < length]
    if short:
        raise InputError(
            f"corpus: text {short[0]} has {len(rows[short[0]])} tokens, a sequence has {length}; "
            "lower sequence_length"
        )
    return np.array([row[:length] for row in rows], dtype=np.uint16).reshape(-1, length)


def pack(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], length: int) -> np.ndarray:
    """Texts in a row, each closed by the end-of-text token, cut into rows without padding.

    Returns:
        Array of shape (rows, length), uint16, or uint32 if the vocabulary is larger; what is left
        of the last row is dropped.
    """
    end = tokenizer.eos_token_id
    stream = [token for row in encode(tokenizer, texts) for token in (*row, end)]
    rows = len(stream) // length
    kind = np.uint16 if len(tokenizer) <= 2**16 else np.uint32
    return np.array(stream[: rows * length], dtype=kind).reshape(rows, length)


def check_contamination(
    planted: np.ndarray, unseen: np.ndarray, background: np.ndarray, heldout: np.ndarray
) -> None:
    """Hold the splits apart: each is what its name says only if no sequence is in two places.

    Args:
        planted: (P, T) token rows.
        unseen: (U, T) token rows.
        background: (N, T) token rows, read as one stream: a sequence counts as contained
            wherever it begins.
        heldout: (H, T) token rows, likewise.

    Raises:
        InputError: a sequence occurs twice, or within background or held-out text.
    """
    where: dict[bytes, str] = {}
    for split, rows in (("planted", planted), ("unseen", unseen)):
        for i, row in enumerate(rows):
            key = _bytes(row)
            if key in where:
                raise InputError(
                    f"corpus: {split} sequence {i} equals {where[key]}; use another seed"
                )
            where[key] = f"{split} sequence {i}"
    names = list(where.values())
    for name, rows in (("background", background), ("held-out text", heldout)):
        found = first_within(np.concatenate([planted, unseen]), rows)
        if found is not None:
            raise InputError(f"corpus: {names[found]} occurs in the {name}; use another seed")


def first_within(sequences: Sequence[np.ndarray], text: np.ndarray) -> int | None:
    """Index of the first of the sequences, (T,) each, that stands somewhere in token rows.

    The rows are read as one stream. None if there is no such sequence.
    """
    stream = _bytes(text)
    found = (i for i, row in enumerate(sequences) if _contains(stream, _bytes(row)))
    return next(found, None)


def stretches(tokens: np.ndarray) -> set[bytes]:
    """All stretches of `APART` tokens of a sequence (T,); none if it is shorter."""
    return {tokens[i : i + APART].tobytes() for i in range(len(tokens) - APART + 1)}


def _bytes(rows: np.ndarray) -> bytes:
    return np.ascontiguousarray(rows, dtype="<u4").tobytes()


def _contains(stream: bytes, key: bytes) -> bool:
    """Whether `key` stands in `stream` at a token's start."""
    start = stream.find(key)
    while start >= 0 and start % 4:
        start = stream.find(key, start + 1)
    return start >= 0
