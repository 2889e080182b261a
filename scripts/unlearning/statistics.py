"""Intervals, paired comparisons, resampling, correction for many comparisons.

A repetition of an experiment is a replicate, made anew from its text to its forget sets; replicates
are independent. Where there is one, it is a forget-set draw. All draws come from one pool, so they
overlap and are not independent: intervals over them are narrower than intervals over fresh pools
would be. Every table says what its n counts.

scipy and statsmodels are imported where they are needed: they take longer to load than most jobs
that only resample, and the environment of the models does not have the second.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

NAN = float("nan")
RESAMPLES = 1000
"""Bootstrap resamples of a paired difference."""
WITNESSES = 4
"""Fewest values whose bootstrap counts: the percentile interval of two or three is their range."""


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval over n values; NaN where it cannot be said."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Difference(Interval):
    """A mean difference with its confidence interval and the two-sided p-value of its test."""

    p: float


@dataclass(frozen=True)
class PairedDifference(Difference):
    """A mean difference over n pairs, with the bootstrap interval beside Student's."""

    boot_low: float = NAN
    boot_high: float = NAN

    @property
    def sure_low(self) -> float:
        """The lower of both lower bounds; NaN unless there are both."""
        return float(np.minimum(self.low, self.boot_low))

    @property
    def sure_high(self) -> float:
        """The upper of both upper bounds; NaN unless there are both."""
        return float(np.maximum(self.high, self.boot_high))


def known_spread(std: np.ndarray | float, mean: np.ndarray | float) -> np.ndarray:
    """A standard deviation, NaN where it says nothing: of one value, or of equal ones.

    Two draws that lose the same item say nothing about what a third would lose; the interval of
    width zero that they give would be a false certainty. What differs by rounding alone is equal.

    Args:
        std: of the values, any shape.
        mean: of the same values, same shape.
    """
    std = np.asarray(std, dtype=float)
    return np.where(std > 1e-12 * np.maximum(1.0, np.abs(mean)), std, NAN)


def spread_is_known(values: np.ndarray) -> bool:
    """Whether values, (N,), are several and differ (`known_spread`)."""
    return len(values) > 1 and bool(np.isfinite(known_spread(values.std(ddof=1), values.mean())))


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean and two-sided Student-t interval; NaN values are left out.

    Returns:
        n = 0: all NaN. One value, or equal ones: NaN bounds (`known_spread`).
    """
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    n = len(values)
    if n == 0:
        return Interval(NAN, NAN, NAN, 0)
    mean = float(values.mean())
    if not spread_is_known(values):
        return Interval(mean, NAN, NAN, n)
    from scipy import special

    # the special functions behind stats.t: a hundred times quicker, and tables ask for thousands
    half = float(special.stdtrit(n - 1, 0.5 + confidence / 2) * values.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def paired_difference(
    left: Sequence[float],
    right: Sequence[float],
    confidence: float = 0.95,
    redrawn: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
) -> PairedDifference:
    """Mean of left - right over pairs: Student-t interval, paired t-test, bootstrap interval.

    Pairs may come in clusters that are independent (replicates) while the pairs within one (its
    draws) are not: then a cluster is one value, the mean over its pairs, and the bootstrap draws
    clusters, and pairs within each that it drew.

    The bootstrap (percentile, `RESAMPLES` resamples of pairs, the same for every comparison of n
    pairs) does not lean on normal differences, but is too narrow for few pairs; Student's is the
    other way round. A difference is called sure only where both exclude zero (`sign_of`); of fewer
    than `WITNESSES` pairs there is no bootstrap, and nothing is sure.

    A pair with a NaN on either side is left out.

    Args:
        left: one value per pair, (N,).
        right: the values paired with them, (N,).
        confidence: of the interval.
        redrawn: the differences again, had what all pairs share been drawn anew (the unseen
            sequences that set a band), (N, RESAMPLES): the bootstrap then draws both. None or
            (N, 0): nothing is shared.
        clusters: what each pair belongs to, (N,). None: each is one by itself.

    Returns:
        n counts the pairs used, or their clusters. One, or equal ones: NaN bounds (`known_spread`)
        and p; but p is 1 where all differences are zero, a test that found nothing.
    """
    differences = np.asarray(left, dtype=float) - np.asarray(right, dtype=float)
    clusters = np.arange(len(differences)) if clusters is None else np.asarray(clusters)
    known = np.flatnonzero(~np.isnan(differences))
    known = known[np.argsort(clusters[known], kind="stable")]
    differences = differences[known]
    _, place, sizes = np.unique(clusters[known], return_inverse=True, return_counts=True)
    each = np.bincount(place, differences, len(sizes)) / sizes  # what n counts
    interval = mean_interval(each, confidence)
    if not spread_is_known(each):
        nothing = interval.n > 1 and abs(interval.mean) <= 1e-12
        return PairedDifference(interval.mean, NAN, NAN, interval.n, 1.0 if nothing else NAN)
    t = interval.mean / (each.std(ddof=1) / np.sqrt(interval.n))
    from scipy import special

    p = float(2 * special.stdtr(interval.n - 1, -abs(t)))
    boot = (NAN, NAN)
    if interval.n >= WITNESSES:
        means = resampled_means(tuple(sizes.tolist()))
        if redrawn is None or not redrawn.size:
            samples = means @ differences
        else:
            samples = np.einsum("bn,nb->b", means, redrawn[known])
        boot = percentile_interval(samples, confidence)
    return PairedDifference(interval.mean, interval.low, interval.high, interval.n, p, *boot)


def witnessed_mean(
    values: Sequence[float],
    confidence: float = 0.95,
    redrawn: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
) -> PairedDifference:
    """Mean with both intervals, Student's and the bootstrap's: `paired_difference` from zero."""
    return paired_difference(values, np.zeros(len(values)), confidence, redrawn, clusters)


@cache
def resampled_means(sizes: tuple[int, ...]) -> np.ndarray:
    """The matrix that takes clustered values to the means of their bootstrap resamples.

    A resample draws clusters with replacement, and for each that it drew as many of its values,
    with replacement; its mean is that of the drawn clusters' means. Of clusters of one value each
    that is the usual bootstrap.

    Args:
        sizes: values of each cluster, N together, in their order.

    Returns:
        (RESAMPLES, N).
    """
    n, counts = len(sizes), np.array(sizes)
    generator = np.random.default_rng(n)
    chosen = resample_indices(n, RESAMPLES, generator)
    if counts.max() == 1:
        return resample_weights(chosen) / n
    starts, row = np.cumsum(counts) - counts, np.arange(RESAMPLES)[:, None]
    drawn = np.zeros((RESAMPLES, counts.sum()))
    for cluster in chosen.T[:, :, None]:
        picks = generator.random((RESAMPLES, counts.max())) * counts[cluster]
        real = np.arange(counts.max()) < counts[cluster]
        np.add.at(drawn, (row, starts[cluster] + picks.astype(int)), real)
    return drawn / (n * counts.repeat(counts))


def sign_of(interval: Interval) -> int:
    """+1 or -1 if all is surely above or below zero, else 0 (also where that is unknown).

    Of a `PairedDifference` both intervals must say so, Student's and the bootstrap's.
    """
    low, high = interval.low, interval.high
    if isinstance(interval, PairedDifference):
        low, high = interval.sure_low, interval.sure_high
    return int(low > 0) - int(high < 0)


def unpaired_difference(
    left: Sequence[float], right: Sequence[float], confidence: float = 0.95
) -> Difference:
    """Difference of the means of two independent samples, Welch's interval and test.

    Returns:
        n counts the values of `left`. NaN bounds and p if a sample has fewer than two values, or
        neither has a spread (`known_spread`).
    """
    left = np.asarray(left, dtype=float)
    right = np.asarray(right, dtype=float)
    left, right = left[~np.isnan(left)], right[~np.isnan(right)]
    if not len(left) or not len(right):
        return Difference(NAN, NAN, NAN, len(left), NAN)
    mean = float(left.mean() - right.mean())
    if min(len(left), len(right)) < 2 or not (spread_is_known(left) or spread_is_known(right)):
        return Difference(mean, NAN, NAN, len(left), NAN)
    from scipy import stats

    test = stats.ttest_ind(left, right, equal_var=False)
    low, high = test.confidence_interval(confidence)
    return Difference(mean, float(low), float(high), len(left), float(test.pvalue))


def proportion_interval(hits: int, n: int, confidence: float = 0.95) -> Interval:
    """A proportion with its Wilson interval (which stays sensible at 0 and 1)."""
    if n == 0:
        return Interval(NAN, NAN, NAN, 0)
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(hits, n, alpha=1 - confidence, method="wilson")
    # the formula's rounding leaves 1e-17 where the bound is 0 or 1
    low = 0.0 if hits == 0 else float(low)
    high = 1.0 if hits == n else float(high)
    return Interval(hits / n, low, high, n)


def proportion_difference(
    hits: int, n: int, other_hits: int, other_n: int, confidence: float = 0.95
) -> Interval:
    """Difference of two independent proportions with Newcombe's interval; n counts the first."""
    if n == 0 or other_n == 0:
        return Interval(NAN, NAN, NAN, n)
    from statsmodels.stats.proportion import confint_proportions_2indep

    low, high = confint_proportions_2indep(
        hits, n, other_hits, other_n, method="newcomb", compare="diff", alpha=1 - confidence
    )
    return Interval(hits / n - other_hits / other_n, float(low), float(high), n)


def resample_indices(n: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Indices of bootstrap resamples with replacement, (resamples, n)."""
    return generator.integers(0, n, size=(resamples, n))


def resample_weights(indices: np.ndarray) -> np.ndarray:
    """How often each of n items occurs in each resample, (resamples, n) int32."""
    resamples, n = indices.shape
    flat = (indices + n * np.arange(resamples)[:, None]).ravel()
    return np.bincount(flat, minlength=resamples * n).reshape(resamples, n).astype(np.int32)


def percentile_interval(samples: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """The percentile interval of bootstrap samples; NaN bounds if any sample is NaN."""
    low, high = np.quantile(samples, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def bootstrap_interval(
    values: Sequence[float],
    statistic: Callable[..., np.ndarray],
    generator: np.random.Generator,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """statistic(values) with a percentile bootstrap; arguments as of `bootstrap_difference`.

    Returns:
        NaN bounds for one value or equal ones: their resamples never differ from them.
    """
    values = np.asarray(values, dtype=float)
    if not len(values):
        return Interval(NAN, NAN, NAN, 0)
    samples = statistic(values[resample_indices(len(values), resamples, generator)], axis=1)
    low, high = percentile_interval(samples, confidence) if spread_is_known(values) else (NAN, NAN)
    return Interval(float(statistic(values, axis=0)), low, high, len(values))


def bootstrap_difference(
    left: Sequence[float],
    right: Sequence[float],
    statistic: Callable[..., np.ndarray],
    generator: np.random.Generator,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """statistic(left) - statistic(right) with a percentile bootstrap, each sample on its own.

    Args:
        left: values of the first sample, (N,).
        right: values of the second sample, (M,).
        statistic: takes an array and `axis`, such as `np.std`.
        generator: source of the resamples.
        resamples: how many.
        confidence: of the interval.

    Returns:
        n counts the values of `left`; NaN where a sample is empty, NaN bounds where it has fewer
        than two values, or neither has a spread: their resamples never differ from them.
    """
    left, right = np.asarray(left, dtype=float), np.asarray(right, dtype=float)
    if not len(left) or not len(right):
        return Interval(NAN, NAN, NAN, len(left))
    a = statistic(left[resample_indices(len(left), resamples, generator)], axis=1)
    b = statistic(right[resample_indices(len(right), resamples, generator)], axis=1)
    known = min(len(left), len(right)) > 1 and (spread_is_known(left) or spread_is_known(right))
    low, high = percentile_interval(a - b, confidence) if known else (NAN, NAN)
    return Interval(float(statistic(left, axis=0) - statistic(right, axis=0)), low, high, len(left))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down correction over a family of tests; NaN stays NaN and counts for nothing.

    Written out because the one of statsmodels collects garbage at every call, which takes longer
    than all the rest of the tables; the tests hold the two equal.
    """
    p = np.asarray(p_values, dtype=float)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    adjusted = np.full(len(p), NAN)
    remaining = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(remaining * p[order]))
    return adjusted
