"""What an objective may read of a model: statistics of every predicted token.

An objective of an unlearner is a function of such statistics, and not of logits: with a vocabulary
of 50,000 the logits of a forget set would fill a machine. The learner makes them slice by slice.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Views:
    """Statistics of the predicted tokens: those that were asked for, None for the others.

    All are (N, T-1), one value for each token of N rows but the first; or (P,), in the order of
    rows, where a reading names P positions. p is the model's distribution there, y the true token.

    Attributes:
        log_p: log p(y), nats.
        margin: log p(y) less the largest log p of another token: negative where y is not the
            greedy choice.
        entropy: of p, nats. Its negative is the mean of log p under p, the mu of Min-K%++.
        variance: of log p under p, square nats; the sigma squared of Min-K%++.
        log_uniform: mean of log p over the vocabulary. Less log V it is the negative of
            KL(uniform || p).
        divergence: KL(q || p), nats, where q is the reference's distribution, with y demoted if
            the reading says so.
        distance: squared Euclidean distance of the hidden state from the reference's.
    """

    log_p: Tensor | None = None
    margin: Tensor | None = None
    entropy: Tensor | None = None
    variance: Tensor | None = None
    log_uniform: Tensor | None = None
    divergence: Tensor | None = None
    distance: Tensor | None = None


@dataclass(frozen=True)
class Reference:
    """What to compare with at every predicted token: hidden states, and a head over them.

    Attributes:
        states: (N, T-1, width); logits where an architecture has no head that stands apart. They
            may be on another device than the model.
        head: makes logits of them, without gradient; the identity over logits.
    """

    states: Tensor
    head: torch.nn.Module = field(default_factory=torch.nn.Identity)

    def __getitem__(self, rows: Tensor | slice) -> "Reference":
        """The same of some rows: their indices, a mask, or a slice."""
        if isinstance(rows, Tensor):
            rows = rows.to(self.states.device)
        return replace(self, states=self.states[rows])

    def to(self, device: torch.device) -> "Reference":
        """The same with its states on a device; the head stays where its model is."""
        return replace(self, states=self.states.to(device))


@dataclass(frozen=True)
class Reading:
    """What to read of which rows.

    Attributes:
        rows: (N, T) token ids.
        views: names of attributes of `Views`.
        reference: of the same rows; for "divergence" and "distance".
        demotion: what is taken from the reference's logit of the true token before it is a
            distribution q; "divergence" only.
        layer: "distance" is between outputs of this layer, counted from 1. No other view goes with
            it, as the layers above are not trained then.
        at: (N, T-1) bool, the positions to look at; None is all. The head, on small models most of
            the work, runs on these alone.
    """

    rows: Tensor
    views: tuple[str, ...] = ("log_p",)
    reference: Reference | None = None
    demotion: float = 0.0
    layer: int | None = None
    at: Tensor | None = None

    @property
    def positions(self) -> int:
        """How many predicted tokens are looked at."""
        return self.rows[:, 1:].numel() if self.at is None else int(self.at.sum())

    def shaped(self, values: Tensor) -> Views:
        """Views of a table (views, N * (T-1))."""
        shape = (-1, len(self.rows), self.rows.shape[1] - 1)
        table = values.view(shape) if self.at is None else values[:, self.at.flatten()]
        return Views(**dict(zip(self.views, table.unbind(), strict=True)))


Objective = Callable[[Views], Tensor]
"""A scalar of views, to be made smaller; any differentiable function of them."""

Term = tuple[Reading, Objective]
"""A part of a loss: what to read, and what to make of it."""


@dataclass(frozen=True)
class Total:
    """The objective `weight` times the sum of all that is read.

    Its slopes are `weight` everywhere, so that a learner need not take its value to step on it.
    """

    weight: float

    def __call__(self, views: Views) -> Tensor:
        """The value."""
        read = (getattr(views, view.name) for view in fields(views))
        return self.weight * sum(values.sum() for values in read if values is not None)


def mean_of(reading: Reading, weight: float = 1.0) -> Term:
    """The term `weight` times the mean, over the positions looked at, of what is read there."""
    return reading, Total(weight / reading.positions)


class Tokens:
    """Predicted tokens, and every view of them by its name; (c,) each, computed when asked for.

    Gradients flow to the states and to the head, never to what they are compared with.
    """

    def __init__(
        self,
        states: Tensor,
        head: Callable[[Tensor], Tensor],
        truth: Tensor,
        reference: Reference | None,
        demotion: float = 0.0,
    ):
        """Hold states (c, width), the true tokens (c,), and a reference with states (c, width)."""
        self.states, self.head, self.truth = states, head, truth
        self.reference, self.demotion = reference, demotion

    def split(self, size: int) -> Iterator["Tokens"]:
        """Slices of at most so many tokens, which hold no logits until they are read."""
        for first in range(0, len(self.truth), size):
            part = slice(first, first + size)
            reference = self.reference and self.reference[part]
            states, truth = self.states[part], self.truth[part]
            yield Tokens(states, self.head, truth, reference, self.demotion)

    @cached_property
    def _table(self) -> Tensor:
        return self.head(self.states).float().log_softmax(dim=-1)

    @cached_property
    def _p(self) -> Tensor:
        return self._table.exp()

    @cached_property
    def log_p(self) -> Tensor:
        """Log-probability of the true token."""
        return self._table.gather(1, self.truth[:, None])[:, 0]

    @property
    def margin(self) -> Tensor:
        """The same, less that of the likeliest other token."""
        return self.log_p - self._others().amax(dim=1)

    def _others(self) -> Tensor:
        return self._table.scatter(1, self.truth[:, None], -torch.inf)

    @cached_property
    def entropy(self) -> Tensor:
        """Of the distribution."""
        return -(self._p * self._table).sum(dim=1)

    @cached_property
    def variance(self) -> Tensor:
        """Of log p under p, about its mean, which is the negative entropy."""
        return (self._p * (self._table + self.entropy[:, None]).square()).sum(dim=1)

    @property
    def log_uniform(self) -> Tensor:
        """Mean log p over the vocabulary."""
        return self._table.mean(dim=1)

    @property
    def divergence(self) -> Tensor:
        """KL(q || p) from the reference's distribution q."""
        target = self._reference_logits().log_softmax(dim=-1)
        return (target.exp() * (target - self._table)).sum(dim=1)

    @torch.no_grad()
    def _reference_logits(self) -> Tensor:
        logits = self.reference.head(self.reference.states).float()
        if self.demotion:
            taken = torch.full_like(self.truth, -self.demotion, dtype=logits.dtype)
            logits = logits.scatter_add(1, self.truth[:, None], taken[:, None])
        return logits

    @property
    def distance(self) -> Tensor:
        """Squared distance of the states from the reference's."""
        return (self.states.float() - self.reference.states.float()).square().sum(dim=1)

    def read(self, views: tuple[str, ...]) -> Tensor:
        """A table (views, c)."""
        return torch.stack([getattr(self, view) for view in views])

    @torch.no_grad()
    def slopes(self, views: tuple[str, ...], weights: Tensor) -> Tensor:
        """(c, V) gradient at the logits of the views, (views, c), summed with `weights` alike.

        Autograd comes to the same, but goes through the table a few times for each view. With
        d = log p - E log p, H the entropy, S the variance, e_y one at the true token, e_o at the
        likeliest other:

            log p(y): e_y - p        margin: e_y - e_o         mean log p: 1 / V - p
            H: -p d                  S: p (d^2 + 2 d - S)      KL(q || p): p - q

        Views of hidden states have none. Where several other tokens are the likeliest, the first
        is taken.
        """
        of = dict(zip(views, weights[:, :, None], strict=True))
        log_p, margin, entropy, variance, log_uniform, divergence = (
            of.get(view, 0.0)
            for view in ("log_p", "margin", "entropy", "variance", "log_uniform", "divergence")
        )
        level = weights.new_zeros(len(self.truth), 1) + (divergence - log_p - log_uniform)
        if "entropy" in of or "variance" in of:
            deviation = self._table + self.entropy[:, None]
            slopes = deviation * variance
            slopes.add_(2 * variance - entropy).mul_(deviation)
            level -= variance * self.variance[:, None]
            slopes.add_(level).mul_(self._p)
        else:  # no table of log p for its own sake
            logits = self._table if "margin" in of else self.head(self.states).float()
            slopes = logits.softmax(dim=-1).mul_(level)
        if "divergence" in of:
            slopes.addcmul_(self._reference_logits().softmax(dim=-1), divergence, value=-1)
        if "log_uniform" in of:
            slopes.add_(log_uniform / slopes.shape[1])
        if "margin" in of:
            slopes.scatter_add_(1, self._others().argmax(dim=1, keepdim=True), -margin)
        if "log_p" in of or "margin" in of:
            slopes.scatter_add_(1, self.truth[:, None], log_p + margin)
        return slopes
