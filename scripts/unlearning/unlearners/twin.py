"""Twin: every forgotten sequence shall look like one real sequence that was never seen (ours).

Ascent leaves sequences that are known better, or worse, than any unseen text, and both give them
away. No score tells a set from unseen text if the token scores of each member are a draw from the
joint distribution of unseen ones; and draws are at hand, as real unseen sequences. So each
forgotten sequence x is given a twin u(x), and one step lowers

    sum over x of [ sum over scores v of  mean_k H( v_(k)(x) - v_(k)(u(x)) )  +  m gap(x) ]
        + anchor * KL(original || model) on text to be kept

- v: log p of the true token, its margin over the likeliest other token, its standardized log p as
  in Min-K%++, and the negative entropy. v_(k) is the k-th in order, H a Huber loss: the scores must
  be the twin's *as a multiset*. Which token becomes hard is the model's own choice, so that nothing
  new has to be learned by heart.
- Tokens that x and u(x) have in common where they are aligned, the form, are put in order apart
  from the others, the content: a form must stay as easy as it is in unseen text.
- x's tokens are ordered by the score; by log p and margin only half, and half by an ease that does
  not know x: what the original makes of the token after the aligned beginnings of other, unseen
  sequences. Otherwise the set has the right scores at the wrong tokens, which an observer with a
  model of his own sees.
- The twin's scores are measured anew as the model moves.
- gap(x): mean log p of x less the level of unseen sequences. Its multiplier m grows while the set
  is known better and falls while it is known worse (dual ascent), so that the means meet whatever
  the anchor weighs.
- The text to be kept is ordinary text, without which utility falls, and unseen sequences, without
  which all text of their kind is ruined and the set hides among the ruins.
- Half of the unseen sequences are held by the anchor, twins are taken from the other half. What is
  held moves less than other unseen text does, and would set a level that nobody else keeps. So the
  level is that of all unseen sequences at the start, and moves with the twins, which nothing holds.

Sums over the set, not means: the pull on a sequence does not depend on how many are forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from unlearning.jobs.errors import InputError
from unlearning.settings import settings_class
from unlearning.unlearners.pairing import align, assign, shared_tokens

if TYPE_CHECKING:
    from torch import Tensor

    from unlearning.unlearners.learner import Learner
    from unlearning.unlearners.readings import Views
    from unlearning.unlearners.request import Request

ENDS = True
NEEDS_RETAIN = True
VIEWS = ("log_p", "margin", "entropy", "variance")
SPREADS = (1.5, 2.0, 1.2, 1.0)  # what counts as a difference of 1 in each score
BY_EASE = 2  # the first two of them are ordered by ease too
FARTHEST_MARGIN = 8.0  # nats; beyond it nothing is told apart
HUBER = 0.5  # of a spread: where the square ends
REFRESH = 5  # steps between measurements of the twins
NEIGHBOURS = 6  # unseen sequences that judge how hard a token is
RARE = 1e-5  # a probability that is as good as none
APART = 1e3  # more than any score: keeps content behind form
LARGEST_GAP = 0.2  # nats that the multiplier reacts to; the start would drive it far beyond use
WARM_UP, FINAL_RATE = 0.05, 0.05  # share of the steps, and of the rate


@settings_class
class Settings:
    """How hard and how long to pull, and what to hold."""

    steps: int = Field(default=100, ge=1)
    """Steps of a run, which ends after them; `unlearning.max_epochs` must not be fewer."""

    rate: float = Field(default=4.0, gt=0)
    """Highest learning rate, as a multiple of `unlearning.learning_rate`: linear warm-up, then a
    cosine down to a twentieth."""

    anchor: float = Field(default=320.0, ge=0)
    """Weight of the divergence from the original on text to be kept (nats a token, a mean), against
    the sum over the forgotten sequences."""

    kept_rows: int = Field(default=12, ge=1)
    """Rows of ordinary text drawn for the anchor in each step."""

    unseen_rows: int = Field(default=4, ge=0)
    """Unseen sequences drawn for the anchor in each step."""

    positions: int = Field(default=640, ge=1)
    """Tokens of these rows that the divergence is measured on, drawn anew in each step."""

    dual: float = Field(default=1.0, ge=0)
    """Rate of the multiplier: what a gap of one nat a token adds to it in a step. With 0 there is
    none."""


def unlearn(
    learner: Learner, request: Request, settings: Settings
) -> Generator[str, np.ndarray, str]:
    """Each epoch, one step towards the twins' scores, for a fixed number of steps.

    Raises:
        InputError: no text to be kept or no unseen sequences were given, or rows of the forget set
            and unseen ones are not of one length.
    """
    from unlearning.unlearners.readings import Reading

    check(request)
    generator = np.random.default_rng(request.seed)
    pool, held = np.array_split(generator.permutation(len(request.unseen)), 2)
    match = Match(learner, request, pool, settings.dual)
    texts = (request.retain, settings.kept_rows), (request.unseen[held], settings.unseen_rows)
    kept = [(rows, learner.remember(rows), count) for rows, count in texts if count]
    weight = settings.anchor / settings.positions
    share = settings.positions / (settings.kept_rows + settings.unseen_rows)
    peak = settings.rate * learner.learning_rate
    yield "before"
    for step in range(settings.steps):
        if step % REFRESH == 0:
            match.measure(learner)
        terms = [(Reading(request.forget, VIEWS), match)]
        for rows, original, count in kept:
            chosen, at = draw(generator, rows.shape, count, round(share * count))
            reading = Reading(rows[chosen], ("divergence",), original[chosen], at=at)
            terms.append((reading, lambda views: weight * views.divergence.sum()))
        learner.learning_rate = peak * schedule(step, settings.steps)
        learner.step(*terms)
        if step + 1 < settings.steps:
            yield "matching"
    return "matching"


def check(request: Request) -> None:
    """Refuse a request that lacks what the method stands on."""
    import torch

    if request.unseen is None or len(request.unseen) < 2:
        raise InputError(
            "twin: fewer than two unseen sequences to take after; give more to set thresholds by"
        )
    if not len(request.retain):
        raise InputError("twin: no text to be kept; set unlearning.retain above 0")
    rows = (request.forget, request.unseen)
    lengths = {row.shape[1] if isinstance(row, torch.Tensor) else None for row in rows}
    if None in lengths or len(lengths) > 1:
        raise InputError("twin: sequences of several lengths have no twins; cut all to one length")


def schedule(step: int, steps: int) -> float:
    """Share of the highest rate: a linear rise, then a cosine down to `FINAL_RATE`."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    fall = math.cos(math.pi * (step - rise) / max(1, steps - rise))
    return FINAL_RATE + (1 - FINAL_RATE) * (1 + fall) / 2


def draw(
    generator: np.random.Generator, shape: tuple[int, int], rows: int, positions: int
) -> tuple[Tensor, Tensor]:
    """What the anchor looks at in one step: at most so many rows, and positions among them.

    Returns:
        Indices of rows (n,) of a table of `shape` (N, T), and which of their predicted tokens,
        (n, T-1) bool.
    """
    import torch

    chosen = generator.choice(shape[0], min(shape[0], rows), replace=False)
    at = np.zeros((len(chosen), shape[1] - 1), dtype=bool)
    at.flat[generator.choice(at.size, min(at.size, positions), replace=False)] = True
    return torch.from_numpy(chosen), torch.from_numpy(at)


class Match:
    """The objective on the forget set, and what it remembers from step to step.

    Attributes:
        twins: (F, T) token rows of the twins.
        level: mean log p that unseen sequences have by now.
        multiplier: of the gap between the set's mean log p and that level.
    """

    def __init__(self, learner: Learner, request: Request, pool: np.ndarray, dual: float):
        """Pair the sequences; ask the model, not yet changed, what it makes of unseen ones.

        Args:
            learner: holds the original model.
            request: what to forget.
            pool: which of the unseen sequences may be twins.
            dual: rate of the multiplier.
        """
        import torch

        from unlearning.unlearners.readings import Reading

        forget, unseen = (rows.cpu().numpy() for rows in (request.forget, request.unseen))
        likeness = shared_tokens(forget, unseen)
        twin = pool[assign(likeness[:, pool])]
        content, twin_content = contents(forget[:, 1:], unseen[twin, 1:])
        device = request.forget.device
        self.twins = request.unseen[torch.from_numpy(twin)]
        self.multiplier, self._dual = 0.0, dual
        self._content = torch.from_numpy(content).to(device)
        self._twin_content = torch.from_numpy(twin_content).to(device)
        self._ease = ease(learner, request, likeness) / SPREADS[0]
        start = learner.read(Reading(request.unseen)).log_p.mean(dim=1)
        self._shift = float(start.mean() - start[torch.from_numpy(twin)].mean())

    def measure(self, learner: Learner) -> None:
        """Measure what the set shall come to, on the model as it is now."""
        from unlearning.unlearners.readings import Reading

        views = learner.read(Reading(self.twins, VIEWS))
        scores = scores_of(views)
        self._target = in_order(scores, scores, self._twin_content)
        self.level = float(views.log_p.mean()) + self._shift

    def __call__(self, views: Views) -> Tensor:
        """The objective; each call moves the multiplier."""
        gap = (views.log_p.mean(dim=1) - self.level).sum()
        mean = float(gap.detach()) / len(views.log_p)
        self.multiplier += self._dual * min(max(mean, -LARGEST_GAP), LARGEST_GAP)
        scores = scores_of(views)
        key = scores.detach().clone()
        key[:BY_EASE] = (key[:BY_EASE] + self._ease) / 2
        ours = in_order(scores, key, self._content)
        return mismatch(ours, self._target).sum() + self.multiplier * gap


def contents(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which tokens of rows (N, L) and of their twins are content: not aligned with an equal one.

    Both have the same number of them, as each token of the form stands for one of the other row.
    """
    partner, _ = align(left, right)
    rows, columns = (partner >= 0).nonzero()
    content = np.ones(right.shape, dtype=bool)
    content[rows, partner[rows, columns]] = False
    return partner < 0, content


def ease(learner: Learner, request: Request, likeness: np.ndarray) -> Tensor:
    """(F, T-1) how easy each token is without memory of its sequence, nats.

    Log of the mean probability that the model gives to the token after the aligned beginnings of
    the most similar unseen sequences: they are no text that it knows by heart.
    """
    import torch

    from unlearning.memorization.scoring import reader_of, score_hidden, without_gradients

    reader = reader_of(learner.model)
    unseen = request.unseen.cpu().numpy()
    found = []
    with without_gradients(reader):
        states = reader.hidden(request.unseen[:, :-1])
        for row, like in zip(request.forget, likeness, strict=True):
            near = np.argsort(-like, kind="stable")[:NEIGHBOURS]
            alone = np.repeat(row[None, 1:].cpu().numpy(), len(near), axis=0)
            _, place = align(alone, unseen[near, 1:])
            place = np.minimum(place, states.shape[1] - 1)
            after = states[torch.from_numpy(near)[:, None], torch.from_numpy(place)].flatten(0, 1)
            log_p = score_hidden(reader, after, row[1:].repeat(len(near)))[2]
            found.append((log_p.view(len(near), -1).exp().mean(dim=0) + RARE).log())
    return torch.stack(found).clone()


def scores_of(views: Views) -> Tensor:
    """(S, N, T-1) the scores that are matched, each in units of its spread; high is well known."""
    import torch

    standardized = (views.log_p + views.entropy) / views.variance.clamp(min=1e-6).sqrt()
    margin = views.margin.clamp(-FARTHEST_MARGIN, FARTHEST_MARGIN)
    scores = (views.log_p, margin, standardized, -views.entropy)
    return torch.stack([v / spread for v, spread in zip(scores, SPREADS, strict=True)])


def in_order(scores: Tensor, key: Tensor, content: Tensor) -> Tensor:
    """Each row's scores (S, N, L) by rising key (S, N, L): the form's first, then the content's."""
    order = (key + APART * content).argsort(dim=-1, stable=True)
    return scores.gather(-1, order)


def mismatch(ours: Tensor, target: Tensor) -> Tensor:
    """(N,) Huber loss between scores in order (S, N, L), mean over tokens, sum over scores."""
    from torch.nn.functional import smooth_l1_loss

    return smooth_l1_loss(ours, target, beta=HUBER, reduction="none").mean(dim=-1).sum(dim=0)
