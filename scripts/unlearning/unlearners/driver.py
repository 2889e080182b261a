"""Runs one unlearner on one request: measure, record, decide whether to stop, let it step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel

from unlearning import unlearners
from unlearning.jobs.errors import InputError
from unlearning.jobs.progress import progress
from unlearning.limits import below
from unlearning.memorization.rows import Ragged, TokenRows, fitting, of_each
from unlearning.memorization.scoring import extraction_likelihood, ma_and_loss
from unlearning.settings.unlearning import RetainSettings, UnlearningSettings
from unlearning.unlearners.learner import Learner
from unlearning.unlearners.request import Request
from unlearning.unlearners.retain import retaining


@dataclass(frozen=True)
class StopRule:
    """When a sequence set counts as forgotten.

    Attributes:
        rule: "mean", the published one: the mean g of the set is below the forgetting threshold
            (one that equals it, but for rounding, is not: `forgetting.below`).
            "each", ours: no single sequence is above the acceptable band. (Over-forgotten ones do
            not hold the run up: ascent cannot bring them back, it would only go on destroying.)
            "none": never; for methods that end by themselves.
        metrics: "ma" alone as in the ICML 2024 paper, or "ma" and "el": then the set's mean EL_n
            must be below its threshold too (Jang et al. 2023). EL costs far more than MA and is
            measured only at epochs that pass on MA.
        ngram: n of EL_n, tokens.
    """

    rule: Literal["mean", "each", "none"] = "mean"
    metrics: tuple[str, ...] = ("ma",)
    ngram: int = 10

    def met(self, model: PreTrainedModel, request: Request, g: np.ndarray) -> bool:
        """Whether the model, whose forget-set memorization is `g` (F,), has forgotten."""
        if self.rule == "none":
            return False
        if self.rule == "mean":
            forgotten = below(g.mean(), request.threshold)
        else:
            forgotten = not (np.isnan(g) | request.band.under_forgotten(g)).any()
        if forgotten and "el" in self.metrics:
            forgotten = below(self._el(model, request.forget).mean(), request.el_threshold)
        return bool(forgotten)

    def _el(self, model: PreTrainedModel, rows: TokenRows) -> np.ndarray:
        """(F,) extraction likelihood of each row, as `evaluation.measurement` takes it."""

        def measured(_: np.ndarray, tokens: Tensor) -> pd.DataFrame:
            n = fitting(self.ngram, tokens.shape[1])
            return pd.DataFrame({"el": extraction_likelihood(model, tokens, n)})

        return of_each(rows, measured)["el"].to_numpy()


@dataclass(frozen=True)
class Outcome:
    """How a run went. The unlearned weights are in the model that was given.

    Attributes:
        status: "stopped" (the rule was met), "met_at_start" (before any step), "finished" (the
            method took its last step), "cap" (the epoch limit came first) or "diverged" (weights
            or scores are no longer finite numbers).
        phases: the phase of each epoch taken, in order.
        history: columns epoch (0: before the first step), position (in the forget set), ma, loss;
            of the epochs that were measured, the last among them.
    """

    status: str
    phases: list[str]
    history: pd.DataFrame


def unlearn(
    model: PreTrainedModel,
    request: Request,
    method: str,
    settings: Any,
    stop: StopRule,
    *,
    learning_rate: float,
    micro_batch: int,
    max_epochs: int,
    precision: str = "fp32",
    checkpointing: bool = False,
    offload: str = "none",
    retain: RetainSettings | None = None,
    label: str = "unlearning",
) -> Outcome:
    """Unlearn in place until the rule is met, method or epochs are at an end, or the run diverges.

    Memorization of every forget-set sequence is measured before the first step and after each
    one; that measurement is what the method selects by, what the rule judges and what the history
    records. Where no rule judges, it is taken at every fifth epoch and at the end.

    Args:
        model: in full precision, on the device to compute on.
        request: what to forget.
        method: name of the unlearner.
        settings: its `Settings`.
        stop: when to stop.
        learning_rate: Adam's.
        micro_batch: token rows per forward and backward pass.
        max_epochs: at most this many steps where a rule judges; published 150.
        precision: of the steps' matrix products, see `Learner`.
        checkpointing: see `Learner`.
        offload: see `Learner`.
        retain: a term on the request's rows to retain, added to every step.
        label: shown beside the progress bar.
    """
    learner = Learner(
        model,
        learning_rate,
        micro_batch,
        precision=precision,
        checkpointing=checkpointing,
        offload=offload,
    )
    if retain is not None:
        learner.every_step = retaining(learner, request, retain)
    module = unlearners.load(method)
    if getattr(module, "ONE_LENGTH", False) and isinstance(request.forget, Ragged):
        raise InputError(
            f"unlearners: {method} steps on sequences of one length, the forget set has several;"
            " cut it by own.window, or take a method of ascent or task arithmetic"
        )
    steps = module.unlearn(learner, request, settings)
    next(steps)
    judged = stop.rule != "none"
    limit = max_epochs if judged else settings.steps
    status, phases, history, last = "cap", [], [], False
    with progress(total=limit, desc=label, unit="epoch", delay=0) as bar:
        for epoch in range(limit + 1):
            finite = learner.is_finite()
            if judged or last or epoch % unlearners.SELDOM == 0 or not finite:
                ma, loss = ma_and_loss(model, request.forget)
                history.append(_measurement(epoch, ma, loss))
                seen = {"mean_ma": f"{ma.mean():.3f}", "max_ma": f"{ma.max():.3f}"}
                bar.set_postfix(seen, refresh=False)
            if not (finite and np.isfinite(loss).all()):
                status = "diverged"
                break
            if stop.met(model, request, ma):
                status = "stopped" if epoch else "met_at_start"
                break
            if last:
                status = "finished"
                break
            if epoch < limit:
                try:
                    phase = steps.send(ma)
                except StopIteration as end:
                    phase, last = end.value, True
                phases.append(phase)
                bar.update()
    return Outcome(status, phases, pd.concat(history, ignore_index=True))


def carry_out(
    plan: unlearners.Plan,
    model: PreTrainedModel,
    request: Request,
    settings: UnlearningSettings,
    ngram: int,
    label: str,
) -> Outcome:
    """`unlearn` as a block of the config says, and the settings that all blocks share.

    Args:
        plan: the block.
        model: in full precision, on the device to compute on.
        request: what to forget; its seed is set before the first step.
        settings: shared by all.
        ngram: n of EL_n.
        label: shown beside the progress bar.
    """
    torch.manual_seed(request.seed)
    return unlearn(
        model,
        request,
        plan.method,
        plan.settings,
        StopRule(plan.stop, settings.stop_metrics, ngram),
        learning_rate=plan.rate(settings.learning_rate),
        micro_batch=settings.micro_batch,
        max_epochs=settings.max_epochs,
        precision=settings.precision,
        checkpointing=settings.checkpointing,
        offload=settings.offload,
        retain=plan.retain,
        label=label,
    )


def _measurement(epoch: int, ma: np.ndarray, loss: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"epoch": epoch, "position": range(len(ma)), "ma": ma, "loss": loss})


def phase_lengths(phases: Sequence[str]) -> str:
    """Epochs per phase in the order of appearance, as in "ascent 3, arithmetic 8"."""
    order = list(dict.fromkeys(phases))
    return ", ".join(f"{phase} {phases.count(phase)}" for phase in order)
