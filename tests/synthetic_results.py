"""Small made-up results in the project's formats, for tests of the analysis.

Nothing here comes from a model: scores are drawn so that the effects the analysis must find are
there by construction (an `effect` per method), which is what lets a test say what it should find.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from unlearning.attacks.token_level_attacker import TOKEN_PROFILE
from unlearning.jobs.files import write_csv, write_parquet
from unlearning.memorization.forgetting import thresholds

KEYS = ["model", "forget_size", "unlearner", "seed"]
REPETITIONS = (8, 16, 32, 64)
STEPS = 63  # MA of 64 tokens moves in 63rds
TASKS = {
    "place": "choice",
    "story": "choice",
    "closing": "last_word",
    "chat": "dialogue",
    "heldout": "perplexity",
}


@dataclass(frozen=True)
class Effect:
    """What a method leaves behind.

    Attributes:
        ma: mean g of the forget set after unlearning.
        spread: standard deviation of g over the set: wide means outliers.
        loss: mean loss of the forget set, nats (unseen sequences: 3.1).
        utility: change in task accuracy and F1 against the original.
        nats: rise in nats per token on held-out text.
        diverged: seeds whose run diverged.
    """

    ma: float
    spread: float
    loss: float = 3.3
    utility: float = 0.0
    nats: float = 0.1
    diverged: tuple[int, ...] = ()


EFFECTS = {
    "ga": Effect(0.38, 0.16, 4.6, -0.06, 0.6),
    "sga": Effect(0.42, 0.05, 3.2, -0.02, 0.3),
    "ta": Effect(0.40, 0.12, 4.2, -0.12, 0.4),
    "tau": Effect(0.40, 0.10, 3.8, -0.04, 0.5),
    "sga_each": Effect(0.40, 0.04, 3.4, -0.03, 0.3),
    "ta_then_sga": Effect(0.39, 0.05, 3.6, -0.09, 0.35),
}


@dataclass(frozen=True)
class Shape:
    """How much to make up."""

    models: Sequence[str] = ("small", "large")
    sizes: Sequence[int] = (4, 12)
    seeds: Sequence[int] = (0, 1, 2)
    effects: dict[str, Effect] = field(default_factory=lambda: dict(EFFECTS))
    pool: int = 24
    unseen: int = 40
    items: int = 30
    epochs: int = 6
    model_gain: float = 0.08
    control: bool = True


def make(shape: Shape | None = None, seed: int = 0) -> dict[str, pd.DataFrame]:
    """All tables, by file stem: sequences, forget_sets, memorization, history, ..."""
    shape = shape or Shape()
    rng = np.random.default_rng(seed)
    sequences = _sequences(shape, rng)
    planted = sequences[sequences["split"] == "planted"]
    orders = {s: rng.permutation(planted["sequence_id"].to_numpy()) for s in shape.seeds}
    forget_sets = pd.DataFrame(
        [
            (size, s, position, orders[s][position])
            for s in shape.seeds
            for size in shape.sizes
            for position in range(size)
        ],
        columns=["forget_size", "seed", "position", "sequence_id"],
    )
    scores, history, runs, utility, limits = [], [], [], [], []
    for number, model in enumerate(shape.models):
        before = _score_original(sequences, number * shape.model_gain, rng)
        control = _score_unseen(sequences, rng)
        unseen = before[before["half"] == "threshold"]
        limits.append({"model": model} | thresholds(unseen["ma"], unseen["el"]))
        items = _original_items(shape, number * shape.model_gain, rng)
        control_items = _original_items(shape, number * shape.model_gain, rng)
        for size in shape.sizes:
            for s in shape.seeds:
                keys = {"model": model, "forget_size": size, "seed": s}
                part = set(orders[s][:size])
                fixed = {"original": (before, items)}
                if shape.control:
                    fixed["control"] = (control, control_items)
                for label, (table, answers) in fixed.items():
                    scores.append(_keyed(table, part, keys, label))
                    utility.append(answers.assign(**keys, unlearner=label))
                for label, effect in shape.effects.items():
                    lost = s in effect.diverged
                    after = _score_unlearned(before, part, effect, rng)
                    changed = _changed_items(items, effect, rng)
                    if lost:
                        lost_scores = ["ma", "el", "loss", "min_k", "min_k_plus_plus"]
                        after[[*lost_scores, "suffix_loss", *TOKEN_PROFILE]] = np.nan
                        changed["value"] = np.nan
                    scores.append(_keyed(after, part, keys, label))
                    utility.append(changed.assign(**keys, unlearner=label))
                    steps = _history(before, after, part, shape.epochs, rng)
                    history.append(steps.assign(**keys, unlearner=label))
                    inside = after[after["sequence_id"].isin(part)]["ma"]
                    runs.append(
                        keys
                        | {
                            "unlearner": label,
                            "status": "diverged" if lost else "stopped",
                            "epochs": shape.epochs,
                            "phase_epochs": f"ascent {shape.epochs}",
                            "arithmetic_applied": None,
                            "seconds": float(rng.uniform(1, 9)),
                            "mean_ma": inside.mean(),
                            "max_ma": inside.max(),
                        }
                    )
    scores = pd.concat(scores, ignore_index=True)
    memorization = [*KEYS, "sequence_id", "split", "ma", "el", "loss", "verbatim_run"]
    membership = [*KEYS, "sequence_id", "split", "half", "ma", "el", "loss", "min_k"]
    membership += ["min_k_plus_plus", "extracted", "suffix_loss", "verbatim_run", *TOKEN_PROFILE]
    return {
        "sequences": sequences,
        "forget_sets": forget_sets,
        "memorization": scores[memorization],
        "membership": scores.loc[scores["split"] != "retained", membership],
        "values": _values(scores, rng),
        "history": pd.concat(history, ignore_index=True),
        "runs": pd.DataFrame(runs),
        "utility": pd.concat(utility, ignore_index=True),
        "thresholds": pd.DataFrame(limits),
    }


def write(folder: Path, tables: dict[str, pd.DataFrame]) -> dict[str, Path]:
    """Write the tables under their contract names; returns the path of each."""
    paths = {}
    for name, table in tables.items():
        suffix = "csv" if name == "thresholds" else "parquet"
        paths[name] = folder / f"{name}.{suffix}"
        (write_csv if suffix == "csv" else write_parquet)(table, paths[name])
    return paths


def _sequences(shape: Shape, rng: np.random.Generator) -> pd.DataFrame:
    rows = [
        (f"planted-{i:03d}", "planted", REPETITIONS[i % len(REPETITIONS)], "")
        for i in range(shape.pool)
    ]
    rows += [
        (f"unseen-{i:03d}", "unseen", 0, "threshold" if i % 2 else "attack")
        for i in range(shape.unseen)
    ]
    table = pd.DataFrame(rows, columns=["sequence_id", "split", "repetitions", "half"])
    table["tokens"] = list(rng.integers(0, 2048, (len(rows), STEPS + 1)))
    table["kind"] = "made up"
    return table


def _scores(ma: np.ndarray, loss: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The columns of a model's scores; the other scores follow MA and loss."""
    ma = np.clip(np.round(ma * STEPS), 0, STEPS) / STEPS
    # a source of its own, so that one more column leaves the others as they are
    tokens = np.random.default_rng(len(ma))
    return {
        "ma": ma,
        "el": np.clip(ma - 0.45 + rng.normal(0, 0.02, len(ma)), 0, 1),
        "loss": loss,
        "verbatim_run": np.round(ma**3 * STEPS).astype(int),
        "min_k": -2 * loss + rng.normal(0, 0.3, len(ma)),
        "min_k_plus_plus": -loss + 2 + rng.normal(0, 0.3, len(ma)),
        "extracted": ma > 0.9,
        "suffix_loss": loss + rng.normal(0, 0.2, len(ma)),
        **{name: tokens.normal(0, 1, len(ma)) for name in TOKEN_PROFILE},
    }


def _score_unseen(sequences: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    n = len(sequences)
    return sequences[["sequence_id", "split", "half"]].assign(
        **_scores(rng.normal(0.42, 0.05, n), rng.normal(3.1, 0.25, n), rng)
    )


def _score_original(sequences: pd.DataFrame, gain: float, rng: np.random.Generator) -> pd.DataFrame:
    table = _score_unseen(sequences, rng)
    planted = (table["split"] == "planted").to_numpy()
    level = 0.5 + 0.15 * np.log2(sequences.loc[planted, "repetitions"].to_numpy() / 8) + gain
    n = planted.sum()
    known = _scores(level + rng.normal(0, 0.05, n), 2.6 - 2 * (level - 0.4), rng)
    for name, values in known.items():
        table.loc[planted, name] = values
    return table


def _score_unlearned(
    before: pd.DataFrame, part: set[str], effect: Effect, rng: np.random.Generator
) -> pd.DataFrame:
    table = before.copy()
    unseen = (table["split"] == "unseen").to_numpy()
    inside = table["sequence_id"].isin(part).to_numpy()
    drift = _scores(
        table.loc[unseen, "ma"].to_numpy() - 0.03,
        table.loc[unseen, "loss"].to_numpy() + effect.nats,
        rng,
    )
    n = inside.sum()
    g = rng.normal(effect.ma, effect.spread, n)
    left = _scores(g, effect.loss - 3 * (g - effect.ma) + rng.normal(0, 0.1, n), rng)
    for name in left:
        table.loc[unseen, name] = drift[name]
        table.loc[inside, name] = left[name]
    return table


def _keyed(table: pd.DataFrame, part: set[str], keys: dict, label: str) -> pd.DataFrame:
    forget = table["sequence_id"].isin(part)
    split = np.where(table["split"] == "unseen", "unseen", np.where(forget, "forget", "retained"))
    return table.assign(**keys, unlearner=label, split=split)


def _values(scores: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Two attacks on models: what was unlearned returns by relearning, nothing by rounding."""
    judged = scores[(scores["split"] == "forget") | (scores["half"] == "attack")]
    known = ~judged["unlearner"].isin(["original", "control"]) & (judged["split"] == "forget")
    parts = []
    for attack, variant, gain in (("relearning", "3_steps", 0.3), ("quantization", "int4", 0.0)):
        value = rng.normal(0.02, 0.03, len(judged)) + gain * known + 0 * judged["loss"]
        table = judged[[*KEYS, "sequence_id", "split"]]
        table = table.assign(attack=attack, variant=variant, measure="ma_rise", value=value)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def _history(
    before: pd.DataFrame,
    after: pd.DataFrame,
    part: set[str],
    epochs: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    start = before[before["sequence_id"].isin(part)]
    end = after[after["sequence_id"].isin(part)]
    rows = []
    for epoch in range(epochs + 1):
        done = epoch / epochs
        noise = rng.normal(0, 0.03, len(start)) * (0 < epoch < epochs)
        rows.append(
            pd.DataFrame(
                {
                    "epoch": epoch,
                    "sequence_id": start["sequence_id"],
                    "ma": np.clip(
                        (1 - done) * start["ma"].to_numpy() + done * end["ma"].to_numpy() + noise,
                        0,
                        1,
                    ),
                    "loss": (1 - done) * start["loss"].to_numpy() + done * end["loss"].to_numpy(),
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def _original_items(shape: Shape, gain: float, rng: np.random.Generator) -> pd.DataFrame:
    parts = []
    for task, kind in TASKS.items():
        if kind == "perplexity":
            weight = rng.integers(30, 63, shape.items)
            value = weight * rng.normal(1.25 - gain, 0.1, shape.items)
        elif kind == "dialogue":
            weight, value = 1, np.clip(rng.normal(0.65 + gain, 0.1, shape.items), 0, 1)
        else:
            weight, value = 1, (rng.random(shape.items) < 0.7 + 2 * gain).astype(float)
        parts.append(
            pd.DataFrame(
                {
                    "task": task,
                    "kind": kind,
                    "item": range(shape.items),
                    "value": value,
                    "weight": weight,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _changed_items(items: pd.DataFrame, effect: Effect, rng: np.random.Generator) -> pd.DataFrame:
    table = items.copy()
    right = table["kind"].isin(["choice", "last_word"]).to_numpy()
    lost = right & (rng.random(len(table)) < -effect.utility)
    table.loc[lost, "value"] = 0.0
    talk = (table["kind"] == "dialogue").to_numpy()
    table.loc[talk, "value"] = np.clip(
        table.loc[talk, "value"] + effect.utility + rng.normal(0, 0.005), 0, 1
    )
    text = (table["kind"] == "perplexity").to_numpy()
    rise = effect.nats + rng.normal(0, 0.01)
    table.loc[text, "value"] += rise * table.loc[text, "weight"]
    return table
