"""When is a sequence forgotten? Thresholds, the acceptable band of g, and c(D_f).

g(x) is the memorization accuracy (MA) of one sequence, in 0..1. An ordinary sequence that the
model never saw is what a forgotten one should look like, so everything here is measured on unseen
sequences of the original model: a mean (the published forgetting threshold) and a band.

Quantiles of few sequences lie too far in: the least of 20 values has a twentieth of all others
below it, not the hundredth that is meant. An end that would leave out too much is therefore moved
out to a limit of prediction (`band_ends`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from unlearning.jobs.errors import InputError
from unlearning.limits import TOLERANCE, above, at_least, at_most, below

RESAMPLES = 1000
"""Bootstrap resamples of the unseen sequences."""

SLACK = 1 / 60
"""An end of the band may leave out so much more of all unseen sequences than it should. With the
quantiles 0.01 and 0.99 that is so from 58 sequences on."""

SIDES = ("both", "under_forgotten", "over_forgotten")


@dataclass(frozen=True)
class Band:
    """The acceptable range of one sequence's g.

    Attributes:
        low: below it a sequence is over-forgotten.
        high: above it a sequence is under-forgotten, that is, still memorized.
        ends_are_outliers: whether g equal to an end lies outside. The paper's release counts
            g <= 0.15 and g >= 0.60, so there it does; a calibrated band ends at values that unseen
            sequences do take, so there only what is strictly outside counts.
    """

    low: float
    high: float
    ends_are_outliers: bool = False

    def __post_init__(self) -> None:
        """Refuse a band that holds nothing."""
        if not self.low <= self.high:
            raise InputError(
                f"band: low {self.low} is not below high {self.high}; give the lower end first"
            )

    def under_forgotten(self, g: np.ndarray) -> np.ndarray:
        """Which sequences are still memorized: above the band. Shape of `g`; NaN is False."""
        return (at_least if self.ends_are_outliers else above)(g, self.high)

    def over_forgotten(self, g: np.ndarray) -> np.ndarray:
        """Which sequences are known less than unseen ones: below the band. NaN is False."""
        return (at_most if self.ends_are_outliers else below)(g, self.low)

    def outside(self, g: np.ndarray) -> np.ndarray:
        """Which sequences are outliers on either side. Shape of `g`; NaN is False."""
        return self.under_forgotten(g) | self.over_forgotten(g)


PAPER_BAND = Band(0.15, 0.60, ends_are_outliers=True)
"""The fixed band of the paper's release (set for models with a mean unseen g of 0.30 to 0.34)."""


THRESHOLD_COLUMNS = (
    "model",
    "ma_mean",
    "el_mean",
    "paper_low",
    "paper_high",
    "calibrated_low",
    "calibrated_high",
    "n",
    "quantile_low",
    "quantile_high",
    "ma_mean_low",
    "ma_mean_high",
    "calibrated_low_low",
    "calibrated_low_high",
    "calibrated_high_low",
    "calibrated_high_high",
)
"""Of thresholds.csv. The last six are 95 % bootstrap intervals over the unseen sequences: of the
mean, of the lower and of the upper end of the calibrated band."""


@dataclass(frozen=True)
class Thresholds:
    """What forgetting is measured against, for one model.

    Attributes:
        ma_mean: forgetting threshold: mean MA of unseen sequences (or the value given).
        el_mean: the same for extraction likelihood.
        paper: the fixed band.
        calibrated: from the unseen sequences' g, see `band_ends`.
        n: unseen sequences measured.
        quantiles: which of all unseen sequences' g the ends of the calibrated band stand for.
    """

    ma_mean: float
    el_mean: float
    paper: Band
    calibrated: Band
    n: int
    quantiles: tuple[float, float]


def thresholds(
    ma: np.ndarray,
    el: np.ndarray,
    quantiles: tuple[float, float] = (0.01, 0.99),
    *,
    paper_band: tuple[float, float] = (PAPER_BAND.low, PAPER_BAND.high),
    ma_mean: float | None = None,
    el_mean: float | None = None,
) -> dict[str, float]:
    """Thresholds of a model from its scores on the unseen "threshold" half.

    The means are the published rule (Jang et al. 2023). The calibrated band is ours (`band_ends`).
    Its ends are near the extremes of few values: the intervals beside them say how uncertain that
    makes them (`redrawn_ends`).

    Args:
        ma: memorization accuracy of each unseen sequence, (N,).
        el: extraction likelihood of each, (N,).
        quantiles: the ends of the calibrated band.
        paper_band: the fixed band.
        ma_mean: a forgetting threshold to use instead of the measured mean; published: 0.2994
            (GPT-Neo 125M), 0.3327 (1.3B), 0.3402 (2.7B).
        el_mean: the same for extraction likelihood; published: 0.0499 (125M).

    Returns:
        The columns `THRESHOLD_COLUMNS` but for the model.

    Raises:
        InputError: quantiles that are none, no sequence, or a score that is not a finite number.
    """
    ma, el = np.asarray(ma, dtype=float), np.asarray(el, dtype=float)
    if not 0 <= quantiles[0] < quantiles[1] <= 1:
        raise InputError(
            f"band_quantiles: {quantiles[0]}, {quantiles[1]} are not two rising numbers within"
            " 0..1; correct them"
        )
    if not len(ma) or not np.isfinite(ma).all() or not np.isfinite(el).all():
        raise InputError(
            "thresholds: the unseen 'threshold' half is empty or has scores that are not finite;"
            " check sequences.parquet and the original model"
        )
    low, high = band_ends(ma, quantiles)
    drawn = [ma[unseen_resamples(len(ma))].mean(axis=1), *redrawn_ends(ma, quantiles)]
    around = np.quantile(drawn, (0.025, 0.975), axis=1).T
    if np.ptp(ma) <= TOLERANCE:  # resamples of equal values never differ
        around[:] = np.nan
    if ma_mean is not None:
        around[0] = np.nan
    return {
        "ma_mean": float(ma.mean()) if ma_mean is None else ma_mean,
        "el_mean": float(el.mean()) if el_mean is None else el_mean,
        "paper_low": paper_band[0],
        "paper_high": paper_band[1],
        "calibrated_low": float(low),
        "calibrated_high": float(high),
        "n": len(ma),
        "quantile_low": quantiles[0],
        "quantile_high": quantiles[1],
    } | dict(zip(THRESHOLD_COLUMNS[-6:], around.ravel().tolist(), strict=True))


def band_ends(ma: np.ndarray, quantiles: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the calibrated band.

    They are quantiles of g (linear interpolation), where there are enough sequences. Where a
    quantile would leave out too much of other unseen sequences (`SLACK`), the end is the limit that
    a further sequence passes with the probability meant, if that is farther out:

        m + t s sqrt(1 + 1 / n),  m, s: mean and standard deviation of z = arcsin(sqrt(g))

    with t Student's quantile of n - 1 degrees of freedom. z has about the same spread at any g, a
    share of tokens, and is nearer to normal than g is. Ends at the quantiles 0 and 1 stay the
    extremes.

    Args:
        ma: g of unseen sequences, (..., N).
        quantiles: the ends that are meant.

    Returns:
        Lower and upper ends, (...) each.
    """
    ma = np.asarray(ma, dtype=float)
    n = ma.shape[-1]
    ends = np.quantile(ma, quantiles, axis=-1)
    z = np.arcsin(np.sqrt(ma.clip(0, 1)))
    farther = np.minimum, np.maximum
    for i, (quantile, moved) in enumerate(zip(quantiles, predicted(n, quantiles), strict=True)):
        if moved:
            reach = special.stdtrit(n - 1, quantile) * np.sqrt(1 + 1 / n)
            limit = z.mean(axis=-1) + reach * z.std(axis=-1, ddof=1)
            ends[i] = farther[i](ends[i], np.sin(limit.clip(0, np.pi / 2)) ** 2)
    return ends[0], ends[1]


def left_out(n: int, quantiles: tuple[float, float]) -> tuple[float, float]:
    """Shares of all unseen sequences expected below and above quantiles of n of them.

    Of n values of any continuous distribution the k-th has the share k / (n + 1) below it, on
    average; linear interpolation takes the quantile q for number 1 + (n - 1) q.
    """
    low, high = ((1 + (n - 1) * share) / (n + 1) for share in (quantiles[0], 1 - quantiles[1]))
    return low, high


def predicted(n: int, quantiles: tuple[float, float]) -> tuple[bool, bool]:
    """Whether n sequences are too few for the band's lower and upper quantile; see `band_ends`."""
    meant = quantiles[0], 1 - quantiles[1]
    low, high = (
        n > 1 and share > 0 and found > share + SLACK
        for found, share in zip(left_out(n, quantiles), meant, strict=True)
    )
    return low, high


def coverage(n: int, quantiles: tuple[float, float]) -> float:
    """Share of all unseen sequences that the band is expected to hold, ends that n of them set.

    Of an end that is predicted this is what is meant; see `band_ends` for what that rests on.
    """
    meant = quantiles[0], 1 - quantiles[1]
    kinds = zip(meant, left_out(n, quantiles), predicted(n, quantiles), strict=True)
    return 1 - sum(share if moved else found for share, found, moved in kinds)


def about_band(n: int, quantiles: tuple[float, float]) -> str:
    """What the calibrated band of n unseen sequences is worth, in a sentence."""
    low, high = quantiles
    held = 1 - sum(left_out(n, quantiles))
    if any(predicted(n, quantiles)):
        return (
            f"{n} unseen sequences set the band: too few for its quantiles {low:g} and {high:g},"
            f" which would hold {held:.0%} of others where {high - low:.0%} are meant; its ends are"
            " limits of prediction instead, which hold them if g is spread about normally, and lie"
            " the farther out the fewer there are"
        )
    return (
        f"{n} unseen sequences set the band: it is expected to hold {held:.0%} of others"
        f" ({high - low:.0%} of all, had it been set by all)"
    )


def unseen_resamples(n: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Indices of bootstrap resamples of n unseen sequences, (resamples, n).

    The same for all models and runs: they share these sequences, and so the luck of their draw.
    """
    return np.random.default_rng([1, n]).integers(0, n, size=(resamples, n))


def redrawn_ends(
    ma: np.ndarray, quantiles: tuple[float, float], resamples: int = RESAMPLES
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the calibrated band, had other unseen sequences set it.

    A resample never reaches beyond the sample, so that of ends near its extremes the spread is told
    too small rather than too large.

    Args:
        ma: memorization accuracy of each unseen sequence, (N,).
        quantiles: the ends of the band.
        resamples: how many.

    Returns:
        Lower and upper ends, (resamples,) each.
    """
    indices = unseen_resamples(len(ma), resamples)
    return band_ends(np.asarray(ma)[indices], quantiles)


def thresholds_of(table: pd.DataFrame, model: str) -> Thresholds:
    """Read one model's thresholds back from a table with the columns `THRESHOLD_COLUMNS`.

    Raises:
        InputError: a column is missing, or the model has not exactly one row.
    """
    missing = [column for column in THRESHOLD_COLUMNS if column not in table]
    if missing:
        raise InputError(f"thresholds: no column '{missing[0]}'; measure the thresholds again")
    rows = table[table["model"].astype(str) == str(model)]
    if len(rows) != 1:
        raise InputError(
            f"thresholds: model '{model}' has {len(rows)} rows where one is needed;"
            " measure its thresholds"
        )
    row = rows.iloc[0]
    return Thresholds(
        ma_mean=float(row["ma_mean"]),
        el_mean=float(row["el_mean"]),
        paper=Band(float(row["paper_low"]), float(row["paper_high"]), ends_are_outliers=True),
        calibrated=Band(float(row["calibrated_low"]), float(row["calibrated_high"])),
        n=int(row["n"]),
        quantiles=(float(row["quantile_low"]), float(row["quantile_high"])),
    )


def count_outliers(g: Iterable[float], band: Band) -> dict[str, float]:
    """c(D_f), the outlier-based forgetting metric of the paper, and its two sides apart.

    c counts the sequences whose g lies outside the acceptable band after unlearning: those still
    memorized and those over-forgotten. Applied to unseen sequences of the same unlearned model it
    is the control: unlearning moves the g of unseen text too.

    Args:
        g: memorization of each sequence, (F,).
        band: the acceptable range; it says whether its ends count (paper) or not (calibrated).

    Returns:
        Counts under the keys of `SIDES`; NaN each if there is no sequence or any g is NaN (a
        diverged run has no outliers to count, which is not the same as having none).
    """
    g = np.asarray(list(g), dtype=float)
    if not len(g) or np.isnan(g).any():
        return dict.fromkeys(SIDES, float("nan"))
    return {
        "both": float(band.outside(g).sum()),
        "under_forgotten": float(band.under_forgotten(g).sum()),
        "over_forgotten": float(band.over_forgotten(g).sum()),
    }


def describe(g: Iterable[float]) -> dict[str, float]:
    """Mean, spread (population standard deviation), smallest and largest g of a set.

    Returns:
        Keys mean, spread, min, max; NaN each if there is no sequence or any g is NaN.
    """
    g = np.asarray(list(g), dtype=float)
    if not len(g) or np.isnan(g).any():
        return dict.fromkeys(("mean", "spread", "min", "max"), float("nan"))
    return {
        "mean": float(g.mean()),
        "spread": float(g.std()),
        "min": float(g.min()),
        "max": float(g.max()),
    }
