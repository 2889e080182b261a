"""What an unlearner may do to a model: step up, step down, read the weights, set the weights."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from unlearning.memorization.rows import TokenRows, by_length
from unlearning.models import sharding
from unlearning.models.loading import PRECISIONS
from unlearning.models.offloading import OffloadedAdam, shard_of
from unlearning.models.readers import head_is_last, is_matrix, slice_rows

BETAS = (0.9, 0.98)  # Jang et al. 2023, and the release of the ICML 2024 paper


class Learner:
    """A model in full precision with Adam, stepping on whole sets of token rows.

    The whole set given to `ascend` or `descend` is *one* batch and makes *one* optimizer step, as
    published; it only passes through the model in micro-batches so that memory stays bounded. The
    loss is the mean cross-entropy over all predicted tokens of the set, nats per token; sequences
    of different lengths pass through length by length. A model that is spread over several
    processes is given the same set in each, and each does its share.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        learning_rate: float,
        micro_batch: int,
        *,
        precision: str = "fp32",
        checkpointing: bool = False,
        offload: str = "none",
    ):
        """Take hold of `model`, whose weights the steps change in place.

        Args:
            model: a causal language model with float32 weights; dropout is switched off
                (published: dropout 0).
            learning_rate: Adam's, constant.
            micro_batch: token rows per forward pass; no influence on the result beyond rounding.
            precision: of the steps' matrix products: "fp32", "bf16" or "fp16" (with a scaled
                loss). Weights, gradients and moments stay in float32, as small updates vanish
                in half precision; memorization is always measured in the weights' own.
            checkpointing: compute activations twice instead of keeping them; same result.
            offload: "optimizer" keeps Adam's moments, and the copies that `weights` gives, in the
                CPU's memory; same result.
        """
        self.model = model.eval()
        self.learning_rate = learning_rate
        self.micro_batch = micro_batch
        self._precision = PRECISIONS[precision]
        self._checkpointing = checkpointing
        self._offload = offload == "optimizer"
        if checkpointing:
            switch_off_dropout(model)
            model.activation_checkpointing_enable({"use_reentrant": False})
        # parameters() names a tied matrix once: an edit over a state dict would apply it twice
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        head = model.get_output_embeddings()
        self._sliced = (
            precision == "fp32"
            and not sharding.is_sharded(model)
            and is_matrix(head)
            and head.weight.requires_grad
            and head_is_last(model)
        )
        self.restart()

    def restart(self) -> None:
        """Forget Adam's moments: each phase of an unlearner begins afresh."""
        adam = OffloadedAdam if self._offload else torch.optim.Adam
        self._optimizer = adam(self._parameters, lr=self.learning_rate, betas=BETAS)
        self._scaler = torch.amp.GradScaler(
            self.model.device.type, enabled=self._precision == torch.float16
        )

    def ascend(self, rows: TokenRows) -> None:
        """One step that raises the loss on `rows`, N sequences of any length."""
        self._step(rows, direction=-1.0)

    def descend(self, rows: TokenRows) -> None:
        """One step that lowers the loss on `rows`, N sequences of any length."""
        self._step(rows, direction=1.0)

    def _step(self, rows: TokenRows, direction: float) -> None:
        groups = [tokens for _, tokens in by_length(rows)]
        predicted = sum(tokens[:, 1:].numel() for tokens in groups)
        processes, rank = sharding.processes(), sharding.rank()
        self.model.train(self._checkpointing)  # the library recomputes in training mode only
        size = self.micro_batch * processes
        for part in (part for tokens in groups for part in tokens.split(size)):
            mine = part[rank::processes]
            # a process without a row takes part all the same, with one that counts nothing
            share = mine if len(mine) else part[:1]
            # the processes' gradients are averaged
            weight = direction * processes / predicted if len(mine) else 0.0
            add = self._add_sliced if self._sliced else self._add_whole
            add(share, weight)
        self.model.eval()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)

    def _add_sliced(self, rows: Tensor, weight: float) -> None:
        """Add the gradients of `weight` times the summed token losses of `rows`."""
        body, head = self.model.base_model, self.model.get_output_embeddings()
        hidden = body(rows, use_cache=False).last_hidden_state[:, :-1].flatten(0, 1)
        hidden.backward(gradient_at(hidden, head, rows[:, 1:].flatten(), weight))

    def _add_whole(self, rows: Tensor, weight: float) -> None:
        """The same for any model, in any precision."""
        with torch.autocast(
            rows.device.type, self._precision, enabled=self._precision != torch.float32
        ):
            logits = self.model(rows, use_cache=False).logits[:, :-1]
        losses = cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].flatten(), reduction="sum")
        self._scaler.scale(weight * losses).backward()

    def weights(self) -> list[Tensor]:
        """A copy of all trainable weights, in the model's order (this process's shards)."""
        weights = (shard_of(p.detach()) for p in self._parameters)
        return [w.to("cpu", copy=True) if self._offload else w.clone() for w in weights]

    @torch.no_grad()
    def assign(self, weights: Iterable[Tensor]) -> None:
        """Set all trainable weights, one after the other; Adam's moments stay as they are."""
        for parameter, value in zip(self._parameters, weights, strict=True):
            shard_of(parameter).copy_(value)

    @torch.no_grad()
    def is_finite(self) -> bool:
        """Whether every weight is a finite number."""
        finite = all(bool(shard_of(p).isfinite().all()) for p in self._parameters)
        return bool(sharding.least(finite, self.model.device))


@torch.no_grad()
def gradient_at(hidden: Tensor, head: torch.nn.Linear, truth: Tensor, weight: float) -> Tensor:
    """Gradient, at the hidden states, of `weight` times the summed cross-entropy behind the head.

    The head's own gradient is added to its weight's. Both come slice by slice: the logits of a
    slice turn into their gradient in place, so no table of all logits is ever held, let alone its
    softmax and its gradient beside it. With a vocabulary of 50,000 that is most of a step's memory,
    and on a CPU most of its time.

    Args:
        hidden: (n, width) last hidden states.
        head: from hidden states to logits, without bias.
        truth: (n,) the true next tokens.
        weight: of the sum.
    """
    table = head.weight
    if table.grad is None:
        table.grad = torch.zeros_like(table)
    size = slice_rows(hidden.device, *table.shape)
    back = torch.empty_like(hidden)
    place = hidden.new_empty(min(size, len(hidden)), len(table))
    for part, true, into in zip(
        *(whole.split(size) for whole in (hidden, truth, back)), strict=True
    ):
        logits = torch.mm(part, table.T, out=place[: len(part)])
        logits.sub_(logits.amax(dim=1, keepdim=True)).exp_()
        total = logits.sum(dim=1)
        logits[torch.arange(len(true), device=true.device), true] -= total
        # the scale goes to what is narrow, not to the logits
        scale = (weight / total)[:, None]
        torch.mm(logits, table, out=into).mul_(scale)
        table.grad.addmm_(logits.T, part * scale)
    return back


def switch_off_dropout(model: PreTrainedModel) -> None:
    """Set all dropout of a model to 0: its training mode then computes what its evaluation does."""
    for module in model.modules():
        for name, value in vars(module).items():
            if name.endswith("dropout") and isinstance(value, float):
                setattr(module, name, 0.0)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
