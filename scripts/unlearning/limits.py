"""A measure and its limit: every decision on them is one of these four. NaN is none of them."""

import numpy as np

TOLERANCE = 1e-6
"""What differs by less is equal. MA moves in steps of 1/(T - 1), the mean of F sequences in steps
of 1/(F (T - 1)), far above this; what is below it is rounding: of a mean, of single precision."""


def above(value: np.ndarray | float, limit: np.ndarray | float) -> np.ndarray:
    """Whether a value is more than its limit, by more than rounding; shape of both together."""
    return np.asarray(value) > limit + TOLERANCE


def below(value: np.ndarray | float, limit: np.ndarray | float) -> np.ndarray:
    """Whether a value is less than its limit, by more than rounding; shape of both together."""
    return np.asarray(value) < limit - TOLERANCE


def at_least(value: np.ndarray | float, limit: float) -> np.ndarray:
    """Whether a value is its limit, but for rounding, or more; shape of `value`."""
    return np.asarray(value) >= limit - TOLERANCE


def at_most(value: np.ndarray | float, limit: float) -> np.ndarray:
    """Whether a value is its limit, but for rounding, or less; shape of `value`."""
    return np.asarray(value) <= limit + TOLERANCE
