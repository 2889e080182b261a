"""An attacker for each sequence (U-LiRA): what training and unlearning it does to its own scores.

One attacker for all sequences asks whether a score is high among scores; whether it is high *for
this sequence* only one who has trained models with and without it can tell. Such an attacker is the
likelihood-ratio attack (LiRA, Carlini et al. 2022, arXiv 2112.03570), for unlearned models U-LiRA
(Hayes et al. 2024, 2403.01218), for language models and with samples made for the audit U-LiRA+ (Du
et al. 2024, 2406.13348). Here the shadows are models trained on halves of the pool
(`data.shadows`). The score of sequence x is Gaussian among models that were trained on x and
unlearned it, and among models that were never trained on it and unlearned others; the logarithm of
the ratio of both densities at the attacked model's score is its exposure.

Every shadow is attacked in turn. Its own scores, and those of the other one of its pair, enter no
Gaussian that judges it: x is trained on by one of each pair, so without the whole pair the numbers
of models on either side are the same whether x was in or out, and the ratio, which depends on them,
cannot give away what it is asked for. And x is judged twice by the same ratio: on the model of the
pair that unlearned it, and on the other, that was never trained on it. Where training leaves no
trace the two are exchangeable, and the expected AUC is one half exactly.

The means are each sequence's own. The variances, for which a sequence has too few models, are
pooled over sequences, as LiRA does with few shadows; a mean of n models has an error of its own,
and the variance counts 1 + 1/n times. `ATTACKERS` says who else is asked: "all" is the same ratio
with the means pooled too, the one attacker for all sequences.
"""

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import pandas as pd

from unlearning.analysis.attack_effects import student
from unlearning.analysis.replicates import REPLICATE, replicated
from unlearning.analysis.rows import TableJob, arrange
from unlearning.attacks.membership import attack_metrics
from unlearning.settings.analysis import AttackSettings
from unlearning.statistics import percentile_interval, resample_indices, resample_weights

SINGLE = ("loss", "ma", "min_k")
SCORES = {"joint": SINGLE} | {name: (name,) for name in SINGLE}
"""What a ratio is made of: a Gaussian of all scores together, and of each alone."""
ATTACKERS = ("each", "all")
METRICS = ("auc", "tpr_at_1", "tpr_at_5")
WAY = ["model", "unlearner", "attacker", "score", "metric"]
BOUNDS = ["low", "high"]
CONTROL = ["control", "control_low", "control_high"]
ABOVE = ["above_control", "above_low", "above_high"]
RUN_COLUMNS = [
    *WAY, "value", *BOUNDS, "judged", "sequences", "shadows", "diverged", *CONTROL, *ABOVE,
]  # fmt: skip
TABLE_COLUMNS = [
    *WAY, "mean", *BOUNDS, "n", *CONTROL, *ABOVE, "judged", "diverged", "n_counts",
]  # fmt: skip
EXPOSURE_COLUMNS = [
    "model", "unlearner", "sequence_id", "exposure", "exposure_never", "found", "models",
]  # fmt: skip
SHARED = "sequences, resampled together with the pairs of shadows"
REPEATED = "replicates, each with shadows of its own"


# The ratios ---------------------------------------------------------------------------------------


def log_ratios(
    scores: np.ndarray, inside: np.ndarray, outside: np.ndarray, each: bool = True
) -> np.ndarray:
    """Log-likelihood ratio of every score, by the shadows of the other pairs.

    Args:
        scores: (K, N, D) of K shadows, N sequences, D kinds; rows that are not finite count
            nowhere. Shadows 2j and 2j + 1 are a pair.
        inside: (K, N) bool, trained on (and unlearned).
        outside: (K, N) bool, never trained on.
        each: a mean for each sequence; without, one for all.

    Returns:
        (K, N), higher = rather inside; NaN where a score is not finite or no other pair has the
        sequence on one of the sides.
    """
    finite = np.isfinite(scores).all(axis=2)
    ratios = np.full(finite.shape, np.nan)
    for pair in range(0, len(scores), 2):
        own = slice(pair, pair + 2)
        others = np.ones(len(scores), dtype=bool)
        others[own] = False
        sides = [
            _gaussian(scores[others], (side & finite)[others], each) for side in (inside, outside)
        ]
        # a side of one model a sequence says nothing of the spread: it is taken from the other
        spreads = [spread for *_, spread in sides if spread is not None]
        if not spreads:
            continue
        densities = [
            _log_density(scores[own], mean, spreads[0] if spread is None else spread, models)
            for mean, models, spread in sides
        ]
        ratios[own] = densities[0] - densities[1]
    return ratios


def _gaussian(
    scores: np.ndarray, chosen: np.ndarray, each: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Means (N, D), numbers of values behind them (N,), and one covariance (D, D) of some scores.

    Args:
        scores: (R, N, D).
        chosen: (R, N) bool.
        each: see `log_ratios`.
    """
    values = np.where(chosen[:, :, None], scores, 0.0)
    models, total = chosen.sum(axis=0), values.sum(axis=0)
    if not each:
        models, total = (np.broadcast_to(of.sum(axis=0), of.shape) for of in (models, total))
    mean = np.full(total.shape, np.nan)
    np.divide(total, models[:, None], out=mean, where=models[:, None] > 0)
    residuals = (scores - mean)[chosen]
    known = (np.maximum(models - 1, 0)).sum() if each else max(len(residuals) - 1, 0)
    return mean, models, residuals.T @ residuals / known if known else None


def _log_density(
    scores: np.ndarray, mean: np.ndarray, spread: np.ndarray, models: np.ndarray
) -> np.ndarray:
    """(R, N) log-density of scores (R, N, D), less a constant, where means (N, D) are of `models`.

    A Gaussian's next value, whose mean is known from n values, has 1 + 1/n times its variance.
    """
    # scores that move together, or never, leave no variance in some direction
    spread = spread + np.diag(1e-6 * np.diag(spread) + 1e-12)
    root = np.linalg.cholesky(spread)
    distance = np.linalg.solve(root, (scores - mean)[..., None])[..., 0]
    wider = np.full(len(models), np.nan)
    np.divide(models + 1.0, models, out=wider, where=models > 0)
    size = scores.shape[2]
    return (
        -0.5 * (distance**2).sum(axis=2) / wider
        - 0.5 * size * np.log(wider)
        - np.log(np.diag(root)).sum()
    )


def judged(ratios: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> pd.DataFrame:
    """The sequences that are inside on one of a pair of shadows and outside on the other.

    Args:
        ratios: (K, N), see `log_ratios`.
        inside: (K, N) bool.
        outside: (K, N) bool.

    Returns:
        Columns pair, sequence (its position), inside, outside: its ratio there and there. A
        sequence without both is left out, as a diverged run leaves no scores.
    """
    parts = []
    for mine, theirs in ((0, 1), (1, 0)):
        pair, sequence = np.nonzero(inside[mine::2] & outside[theirs::2])
        values = ratios[mine::2][pair, sequence], ratios[theirs::2][pair, sequence]
        columns = {"pair": pair, "sequence": sequence, "inside": values[0], "outside": values[1]}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True).dropna(ignore_index=True)


# How well it is told ------------------------------------------------------------------------------


def resampled(table: pd.DataFrame, drawn: Sequence[np.ndarray]) -> np.ndarray:
    """(METRICS, B + 1) the success in the sample itself and in B resamples.

    Ratios of one sequence share its Gaussians, and ratios on one pair of shadows share two models:
    neither alone is a unit. Sequences and pairs are resampled each by themselves, and a value
    counts as often as its sequence times its pair was drawn (Owen 2007, the pigeonhole bootstrap):
    intervals are wide enough for new sequences on new models, and rather too wide than too narrow.
    The Gaussians stay as they are.

    Args:
        table: as `judged` returns it.
        drawn: how often each sequence and each pair occurs in each resample, (B, N) and (B, K / 2).
    """
    if table.empty:
        return np.full((len(METRICS), len(drawn[0]) + 1), np.nan)
    weights = drawn[0][:, table["sequence"]] * drawn[1][:, table["pair"]]
    weights = np.concatenate([np.ones((1, len(table)), dtype=weights.dtype), weights])
    values = table["inside"].to_numpy(), table["outside"].to_numpy()
    with np.errstate(invalid="ignore"):  # a resample may miss all of a few values
        found = attack_metrics(*values, weights, weights)
    return np.stack([found[metric] for metric in METRICS])


def shadow_effects(
    scores: pd.DataFrame, design: pd.DataFrame, settings: AttackSettings
) -> pd.DataFrame:
    """What each attacker finds of each method, beside the same of sequences that were in no model.

    Args:
        scores: columns model, shadow, unlearner, sequence_id and `SINGLE`; "original" are the
            shadows as they were trained, of which those trained on a sequence are told from those
            never trained on it.
        design: as `data.shadows.draw_shadows` returns it.
        settings: resamples, confidence, seed.

    Returns:
        Columns `RUN_COLUMNS`. control: of unseen sequences, by the parts that were drawn for them
        and mean nothing; above_control is the difference, with both resampled, pairs of shadows
        together. judged counts sequences on pairs of shadows, diverged the runs left out.
    """
    rows = []
    for (model, label), part in scores.groupby(["model", "unlearner"], sort=False):
        generator = np.random.default_rng([settings.seed, crc32(f"{model}/{label}".encode())])
        sides = [arrays(part, design, label, split) for split in ("planted", "unseen")]
        count = len(sides[0][0])
        pairs = _draws(count // 2, settings.resamples, generator)
        drawn = [(_draws(len(s[3]), settings.resamples, generator), pairs) for s in sides]
        diverged = int((~np.isfinite(sides[0][0]).all(axis=2)).all(axis=1).sum())
        for attacker in ATTACKERS:
            for score, names in SCORES.items():
                columns = [SINGLE.index(name) for name in names]
                tables = []
                for values, inside, outside, _ in sides:
                    ratios = log_ratios(values[:, :, columns], inside, outside, attacker == "each")
                    tables.append(judged(ratios, inside, outside))
                found = [resampled(*of) for of in zip(tables, drawn, strict=True)]
                told = [_told(of, settings.confidence) for of in (*found, found[0] - found[1])]
                counts = (len(tables[0]), tables[0]["sequence"].nunique(), count, diverged)
                for metric, own, control, above in zip(METRICS, *told, strict=True):
                    keys = (model, label, attacker, score, metric)
                    rows.append((*keys, *own, *counts, *control, *above))
    return pd.DataFrame(rows, columns=RUN_COLUMNS)


def arrays(
    part: pd.DataFrame, design: pd.DataFrame, label: str, split: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Scores (K, N, D) of one method's shadows, who is inside and outside (K, N), and the ids."""
    roles = design[design["split"] == split].pivot(
        index="shadow", columns="sequence_id", values="role"
    )
    place = part.pivot(index="shadow", columns="sequence_id", values=list(SINGLE))
    values = np.stack([place[name].reindex_like(roles).to_numpy(float) for name in SINGLE], axis=2)
    outside = (roles == "never").to_numpy()
    inside = ~outside if label == "original" else (roles == "forget").to_numpy()
    return values, inside, outside, roles.columns.tolist()


def _draws(n: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
    return resample_weights(resample_indices(n, resamples, generator))


def _told(samples: np.ndarray, confidence: float) -> list[tuple[float, float, float]]:
    """Value, low, high of each metric, from (METRICS, B + 1)."""
    return [(float(of[0]), *percentile_interval(of[1:], confidence)) for of in samples]


# Tables -------------------------------------------------------------------------------------------


def exposures(scores: pd.DataFrame, design: pd.DataFrame) -> pd.DataFrame:
    """How exposed each planted sequence is after each method, by an attacker of its own.

    Returns:
        Columns `EXPOSURE_COLUMNS`. exposure, mean joint log-likelihood ratio (nats) over the models
        that unlearned it; exposure_never, over those of the same pairs that were never trained on
        it; found, the share of pairs where the first is higher; models, how many pairs. The most
        exposed come first within a method. Sequences that could not be judged have no row.
    """
    parts = []
    for (model, label), part in scores.groupby(["model", "unlearner"], sort=False):
        values, inside, outside, ids = arrays(part, design, label, "planted")
        table = judged(log_ratios(values, inside, outside), inside, outside)
        table["found"] = 0.5 + 0.5 * np.sign(table["inside"] - table["outside"])
        groups = table.groupby("sequence")
        means = groups[["inside", "outside", "found"]].mean()
        means = means.rename(columns={"inside": "exposure", "outside": "exposure_never"})
        means = means.assign(models=groups.size(), model=model, unlearner=label).reset_index()
        means["sequence_id"] = [ids[place] for place in means["sequence"]]
        means = means.sort_values(["exposure", "sequence_id"], ascending=[False, True])
        parts.append(means[EXPOSURE_COLUMNS])
    return pd.concat(parts, ignore_index=True)


def ulira_table(runs: pd.DataFrame, settings: TableJob) -> pd.DataFrame:
    """What `shadow_effects` found, averaged over replicates where there are several.

    Args:
        runs: as `shadow_effects` returns it, made of each replicate.
        settings: order of models, confidence.

    Returns:
        Columns `TABLE_COLUMNS`. Of one replicate, its intervals, and n counts the sequences judged;
        of several, n counts replicates, and intervals are Student's. diverged is the sum.
    """
    if not replicated(runs):
        table = runs.rename(columns={"value": "mean", "sequences": "n"})
        return arrange(table.assign(n_counts=SHARED), settings.models)[TABLE_COLUMNS]
    runs = arrange(runs, settings.models)
    table = student(runs, WAY, settings.confidence).assign(n_counts=REPEATED)
    for (name, low, high), column in ((CONTROL, "control"), (ABOVE, "above_control")):
        other = student(runs[WAY].assign(value=runs[column]), WAY, settings.confidence)
        table[name], table[low], table[high] = other["mean"], other["low"], other["high"]
    counts = runs.groupby(WAY, sort=False)[["judged", "diverged"]].sum().reset_index(drop=True)
    return table.assign(**counts)[TABLE_COLUMNS]


def stacked(folders: dict[int | None, pd.DataFrame]) -> pd.DataFrame:
    """Tables of several replicates under each other; of one, as it is."""
    if list(folders) == [None]:
        return folders[None]
    tables = []
    for number, table in folders.items():
        table = table.copy()
        table.insert(0, REPLICATE, number)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
