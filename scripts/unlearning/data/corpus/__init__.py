"""The demo's corpus: a generated world, records to be memorized, and mini tasks.

Everything is a function of `CorpusSettings`. Each part draws from a random stream of its own,
so that more items or more background leave the sequences as they are.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from transformers import PreTrainedTokenizerFast

from unlearning.data.corpus.documents import ABOUT_SOMEBODY, write_documents
from unlearning.data.corpus.records import write_records
from unlearning.data.corpus.tasks import Item, write_tasks
from unlearning.data.corpus.tokens import check_contamination, cut, pack, train_tokenizer
from unlearning.data.corpus.world import invent_world, strangers
from unlearning.data.sequences import table_of
from unlearning.jobs.files import replacing
from unlearning.settings.corpus import CorpusSettings

_STREAMS = ("world", "background", "heldout", "once", "planted", "unseen", "repetitions", "tasks")
_TOKENIZER_TEXTS = 4000


@dataclass(frozen=True)
class Corpus:
    """Everything that training, unlearning and the suite read.

    Attributes:
        tokenizer: of the models.
        background: (N, T) token rows of ordinary text and of records seen once.
        heldout: (H, T) token rows of ordinary text that is not trained on, about other people.
        sequences: one row per sequence: sequence_id, split ("planted" | "unseen"), repetitions
            (0 for unseen), tokens (T ints), half ("threshold" | "attack" | ""), kind (form).
        tasks: task name to items.
    """

    tokenizer: PreTrainedTokenizerFast
    background: np.ndarray
    heldout: np.ndarray
    sequences: pd.DataFrame
    tasks: dict[str, list[Item]]

    def save(self, folder: Path | str) -> None:
        """Write tokenizer/, background.npy, heldout.npy and tasks/<task>.jsonl, all or nothing.

        The table of sequences is a result of its own and is not written here.
        """
        with replacing(folder) as scratch:
            scratch.mkdir()
            self.tokenizer.save_pretrained(scratch / "tokenizer")
            np.save(scratch / "background.npy", self.background)
            np.save(scratch / "heldout.npy", self.heldout)
            (scratch / "tasks").mkdir()
            for task, items in self.tasks.items():
                pd.DataFrame(items).to_json(
                    scratch / "tasks" / f"{task}.jsonl", orient="records", lines=True
                )


def generate(settings: CorpusSettings) -> Corpus:
    """Generate the corpus: the same settings give the same corpus.

    Raises:
        InputError: the draw is contaminated (a sequence stands in two splits or in the text).
    """
    rng = {stream: np.random.default_rng([settings.seed, i]) for i, stream in enumerate(_STREAMS)}
    length = settings.sequence_length
    world = invent_world(
        rng["world"], settings.people, settings.towns, settings.things, settings.skew
    )

    rows = settings.background_tokens // length
    once = round(settings.record_share * rows)
    documents = write_documents(world, rng["background"], _TOKENIZER_TEXTS)
    once_texts, _ = write_records(rng["once"], once, length)
    share = round(settings.record_share * _TOKENIZER_TEXTS)
    tokenizer = train_tokenizer([*documents, *once_texts[:share]], settings.vocabulary)

    packed = pack(tokenizer, documents, length)
    while len(packed) < rows - once:
        documents += write_documents(world, rng["background"], len(documents))
        packed = pack(tokenizer, documents, length)
    background = np.concatenate([packed[: rows - once], cut(tokenizer, once_texts, length)])

    # of people and towns that training never names: other text of the same people would mostly
    # repeat what was trained on
    others = strangers(world, rng["heldout"])
    fresh = write_documents(others, rng["heldout"], 4 * settings.items, ABOUT_SOMEBODY)
    fresh = [*dict.fromkeys(fresh)]
    heldout = pack(tokenizer, fresh, length)

    planted_texts, planted_kinds = write_records(rng["planted"], settings.planted, length)
    unseen_texts, unseen_kinds = write_records(rng["unseen"], settings.unseen, length)
    planted = cut(tokenizer, planted_texts, length)
    unseen = cut(tokenizer, unseen_texts, length)
    check_contamination(planted, unseen, background, heldout)

    sequences = table_of(
        {f"planted-{i:04d}": row for i, row in enumerate(planted)},
        {f"unseen-{i:04d}": row for i, row in enumerate(unseen)},
        _repetitions(settings, rng["repetitions"]),
        planted_kinds + unseen_kinds,
    )
    tasks = write_tasks(world, rng["tasks"], settings.items, fresh)
    return Corpus(tokenizer, background, heldout, sequences, tasks)


def _repetitions(settings: CorpusSettings, rng: np.random.Generator) -> list[int]:
    """A number of repetitions for each planted sequence: exact shares, random places."""
    shares = np.cumsum(settings.repetition_weights) / np.sum(settings.repetition_weights)
    ends = np.round(shares * settings.planted).astype(int)
    counts = np.diff(ends, prepend=0)
    return [int(n) for n in rng.permutation(np.repeat(settings.repetitions, counts))]
