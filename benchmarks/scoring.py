"""How much faster exact scoring is than the published loop, at four levels of memorization.

Trains one small model, in this process, until it has memorized 32 sequences to a mean MA of 0.3,
0.6, 0.9 and 0.99 (GPT-Neo; with `--size llama` a Llama whose query heads share keys and values,
which takes the general path through transformers), and at each level measures, on the same model
and sequences,

(a) the published way: for every prefix length one `generate` call with a key-value cache over a
    batch of sequences, then a count of n-grams in Python, at the best of several batch sizes;
(b) `unlearning.memorization.scoring.extraction_likelihood`.

Both run interleaved: the prefix lengths of (a) are dealt into as many parts as there are
repetitions, and (b) runs once, whole, after each part. The ratio is the sum of (a) over the mean
of (b); its spread is the lowest and highest ratio of a single repetition. Seconds are CPU seconds
of this process on a CPU, which other work on the machine disturbs little, and wall seconds with
synchronization on a GPU.

`--size 125m` (GPT-Neo) and `--size llama-135m` (the shape of SmolLM2-135M) time models of random
weights instead: no level can be trained there, so the model knows nothing (the costliest case), and
the memorized levels are made by taking the model's own continuations as sequences.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import (
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from unlearning.jobs.files import write_json
from unlearning.memorization.scoring import extraction_likelihood, score_tokens

LEVELS = (0.3, 0.6, 0.9, 0.99)
SIZES = {
    "tiny": {"vocab_size": 2000, "hidden_size": 128, "num_layers": 4, "num_heads": 4},
    "125m": {"vocab_size": 50257, "hidden_size": 768, "num_layers": 12, "num_heads": 12},
    "llama": {
        "vocab_size": 2000, "hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2,
    },
    "llama-135m": {
        "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A model and sequences (N, T) that it has memorized to some degree."""

    model: PreTrainedModel
    tokens: torch.Tensor


# --- (a) the published way -------------------------------------------------------------------


def generated(model: PreTrainedModel, tokens: torch.Tensor, prefix: int, batch: int) -> np.ndarray:
    """Greedy continuations of the first `prefix` tokens of every sequence, (N, T - prefix)."""
    length = tokens.shape[1]
    parts = []
    for rows in tokens[:, :prefix].split(batch):
        whole = model.generate(
            rows,
            attention_mask=torch.ones_like(rows),
            min_length=length,  # no token ends a text here
            max_length=length,
            do_sample=False,
            use_cache=True,
        )
        parts.append(whole[:, prefix:].cpu())
    return torch.cat(parts).numpy()


def overlap(emitted: list[int], suffix: list[int], n: int) -> float:
    """Share of the suffix's n-grams that the continuation emits, repeats counted."""
    wanted = [tuple(suffix[i : i + n]) for i in range(len(suffix) - n + 1)]
    if not wanted:
        return 0.0
    known = set(wanted)
    found = sum(tuple(emitted[i : i + n]) in known for i in range(len(emitted) - n + 1))
    return found / len(wanted)


def published_el(case: Case, n: int, prefixes: range, batch: int) -> np.ndarray:
    """(N,) the summands of EL_n that belong to these prefix lengths."""
    tokens = case.tokens.cpu().numpy()
    total = np.zeros(len(tokens))
    for prefix in prefixes:
        emitted = generated(case.model, case.tokens, prefix, batch)
        pairs = zip(emitted.tolist(), tokens[:, prefix:].tolist(), strict=True)
        total += [overlap(continuation, suffix, n) for continuation, suffix in pairs]
    return total / (tokens.shape[1] - n)


def published_ma(case: Case, prefixes: range, batch: int) -> np.ndarray:
    """(N,) the share of MA that belongs to these prefix lengths: one new token each."""
    hits = torch.zeros(len(case.tokens))
    for prefix in prefixes:
        for first in range(0, len(case.tokens), batch):
            rows = case.tokens[first : first + batch]
            whole = case.model.generate(
                rows[:, :prefix],
                attention_mask=torch.ones_like(rows[:, :prefix]),
                max_new_tokens=1,
                do_sample=False,
            )
            hits[first : first + batch] += (whole[:, prefix] == rows[:, prefix]).cpu()
    return hits.numpy() / (case.tokens.shape[1] - 1)


# --- models and sequences --------------------------------------------------------------------


def new_model(size: str, length: int, device: str) -> PreTrainedModel:
    """A model with random weights, one of `SIZES`; the small ones have a million parameters."""
    torch.manual_seed(0)
    make = llama if size.startswith("llama") else gpt_neo
    return make(SIZES[size], max(length, 256)).to(device).eval()


def gpt_neo(shape: dict[str, int], positions: int) -> GPTNeoForCausalLM:
    """GPT-Neo, global and local layers in turn."""
    config = GPTNeoConfig(
        **shape,
        attention_types=[[["global", "local"], shape["num_layers"] // 2]],
        max_position_embeddings=positions,
        bos_token_id=None,
        eos_token_id=None,
        attention_dropout=0.0,
        embed_dropout=0.0,
        resid_dropout=0.0,
    )
    return GPTNeoForCausalLM(config)


def llama(shape: dict[str, int], positions: int) -> LlamaForCausalLM:
    """Llama; several query heads share keys and values."""
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    config = LlamaConfig(
        **shape, **ends, max_position_embeddings=positions, tie_word_embeddings=True
    )
    return LlamaForCausalLM(config)


def markov_text(generator: np.random.Generator, successors: np.ndarray, rows: int, length: int):
    """Token rows (rows, length) of a language where each token has a few successors."""
    vocabulary, choices = successors.shape
    text = np.empty((rows, length), dtype=np.int64)
    text[:, 0] = generator.integers(vocabulary, size=rows)
    for t in range(1, length):
        text[:, t] = successors[text[:, t - 1], generator.integers(choices, size=rows)]
    return text


def trained_cases(size: str, count: int, length: int) -> Iterator[Case]:
    """A model on its way to knowing `count` sequences by heart, at each of the levels."""
    generator = np.random.default_rng(0)
    model = new_model(size, length, "cpu")
    successors = generator.integers(model.config.vocab_size, size=(model.config.vocab_size, 8))
    tokens = torch.from_numpy(markov_text(generator, successors, count, length))
    weights = generator.choice([1.0, 2.0, 4.0, 8.0], size=count)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    levels = list(LEVELS)
    while levels:
        planted = generator.choice(count, size=24, p=weights / weights.sum())
        fresh = torch.from_numpy(markov_text(generator, successors, 8, length))
        batch = torch.cat([tokens[planted], fresh])
        logits = model(batch, use_cache=False).logits[:, :-1]
        cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if score_tokens(model, tokens, moments=False).ma.mean() >= levels[0]:
            levels.pop(0)
            yield Case(copy.deepcopy(model), tokens)


def emitted_cases(size: str, count: int, length: int, device: str) -> Iterator[Case]:
    """Random weights, and sequences that are partly the model's own greedy continuations."""
    model = new_model(size, length, device)
    generator = torch.Generator().manual_seed(0)
    foreign = torch.randint(model.config.vocab_size, (count, length), generator=generator)
    for level in LEVELS:
        breaks = torch.rand(count, length, generator=generator) >= level
        tokens = foreign.to(device)
        with torch.no_grad():
            for t in range(1, length):
                greedy = model(tokens[:, :t], use_cache=False, logits_to_keep=1).logits[:, -1]
                tokens[:, t] = torch.where(breaks[:, t].to(device), tokens[:, t], greedy.argmax(-1))
        yield Case(model, tokens)


# --- measuring -------------------------------------------------------------------------------


def seconds(work: Callable[[], np.ndarray], device: str) -> tuple[float, np.ndarray]:
    """Seconds that `work` took, and its result."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    if device != "cpu":
        torch.cuda.synchronize()
    begin = clock()
    result = work()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - begin, result


def best_batch(case: Case, device: str) -> int:
    """The batch size at which the published loop is fastest, tried on three prefix lengths."""
    count, length = case.tokens.shape
    tried = {}
    for batch in sorted({8, 16, 32, count}):
        if batch <= count:
            prefixes = range(length // 4, length, length // 4)
            tried[batch], _ = seconds(
                lambda b=batch, p=prefixes: published_el(case, 1, p, b), device
            )
    return min(tried, key=tried.get)


def compare(
    published: Callable[[range], np.ndarray],
    ours: Callable[[], np.ndarray],
    prefixes: range,
    repeats: int,
    device: str,
) -> dict[str, float]:
    """Time both, interleaved; see the top of this file."""
    ours()  # touches the memory once
    slow, fast, total, ratios = [], [], 0.0, []
    for part in range(repeats):
        mine = prefixes[part::repeats]
        took, summand = seconds(lambda p=mine: published(p), device)
        slow.append(took)
        took, value = seconds(ours, device)
        fast.append(took)
        total = total + summand
        ratios.append(slow[-1] * len(prefixes) / len(mine) / fast[-1])
    return {
        "published_s": sum(slow),
        "ours_s": float(np.mean(fast)),
        "ratio": sum(slow) / float(np.mean(fast)),
        "low": min(ratios),
        "high": max(ratios),
        "difference": float(np.abs(total - value).max()),
    }


def main() -> None:
    """Measure, print the table, and write rows of {ma, ratio, low, high} if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--size", default="tiny", choices=[*SIZES])
    parser.add_argument("--sequences", type=int, default=32)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--n", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.device == "cpu" and options.size in ("tiny", "llama"):
        cases = trained_cases(options.size, options.sequences, options.length)
    else:
        cases = emitted_cases(options.size, options.sequences, options.length, options.device)

    rows, batch = [], None
    print("   MA | published s |   ours s | ratio [low, high]      | difference | MA alone: ratio")
    for case in cases:
        batch = batch or best_batch(case, options.device)
        prefixes = range(1, options.length)
        el = compare(
            lambda p, c=case, b=batch: published_el(c, options.n, p, b),
            lambda c=case: extraction_likelihood(c.model, c.tokens, options.n),
            prefixes,
            options.repeats,
            options.device,
        )
        ma = compare(
            lambda p, c=case, b=batch: published_ma(c, p, b),
            lambda c=case: score_tokens(c.model, c.tokens).ma,
            prefixes,
            options.repeats,
            options.device,
        )
        level = float(score_tokens(case.model, case.tokens, moments=False).ma.mean())
        print(
            f"{level:5.3f} | {el['published_s']:11.1f} | {el['ours_s']:8.3f} |"
            f" {el['ratio']:6.1f} [{el['low']:.1f}, {el['high']:.1f}]".ljust(53)
            + f"| {el['difference']:10.1e} | {ma['ratio']:.0f} [{ma['low']:.0f}, {ma['high']:.0f}]"
            f" (difference {ma['difference']:.1e})",
            flush=True,
        )
        rows.append({"ma": level, **{key: el[key] for key in ("ratio", "low", "high")}})
    print(f"published loop at batch {batch}, its best; {options.threads} thread(s)")
    if options.json:
        write_json(rows, options.json)


if __name__ == "__main__":
    main()
