"""What an unlearner may do to a model: step up, step down, read the weights, set the weights."""

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

BETAS = (0.9, 0.98)  # Jang et al. 2023, and the release of the ICML 2024 paper


class Learner:
    """A model in full precision with Adam, stepping on whole sets of token rows.

    The whole set given to `ascend` or `descend` is *one* batch and makes *one* optimizer step, as
    published; it only passes through the model in micro-batches so that memory stays bounded. The
    loss is the mean cross-entropy over all predicted tokens of the set, nats per token.
    """

    def __init__(self, model: PreTrainedModel, learning_rate: float, micro_batch: int):
        """Take hold of `model`, whose weights the steps change in place.

        Args:
            model: a causal language model; dropout is switched off (published: dropout 0).
            learning_rate: Adam's, constant.
            micro_batch: token rows per forward pass; no influence on the result beyond rounding.
        """
        self.model = model.eval()
        self.learning_rate = learning_rate
        self.micro_batch = micro_batch
        # parameters() names a tied matrix once: an edit over a state dict would apply it twice
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self.restart()

    def restart(self) -> None:
        """Forget Adam's moments: each phase of an unlearner begins afresh."""
        self._optimizer = torch.optim.Adam(
            self._parameters, lr=self.learning_rate, betas=BETAS, weight_decay=0.0
        )

    def ascend(self, rows: torch.Tensor) -> None:
        """One step that raises the loss on `rows`, (N, T) token ids."""
        self._step(rows, direction=-1.0)

    def descend(self, rows: torch.Tensor) -> None:
        """One step that lowers the loss on `rows`, (N, T) token ids."""
        self._step(rows, direction=1.0)

    def _step(self, rows: torch.Tensor, direction: float) -> None:
        predicted = rows[:, 1:].numel()
        for part in rows.split(self.micro_batch):
            logits = self.model(part, use_cache=False).logits[:, :-1].float()
            total = cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum")
            (direction * total / predicted).backward()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def weights(self) -> list[torch.Tensor]:
        """A copy of all trainable weights, in the model's order."""
        return [p.detach().clone() for p in self._parameters]

    @torch.no_grad()
    def assign(self, weights: list[torch.Tensor]) -> None:
        """Set all trainable weights; Adam's moments stay as they are."""
        for parameter, value in zip(self._parameters, weights, strict=True):
            parameter.copy_(value)

    @torch.no_grad()
    def is_finite(self) -> bool:
        """Whether every weight is a finite number."""
        return all(bool(p.isfinite().all()) for p in self._parameters)
