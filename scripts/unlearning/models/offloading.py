"""Adam for a model that fills its device: the moments stay in the CPU's memory.

They are twice the size of the weights and are needed for one parameter at a time. So a parameter's
pair visits the device for its update and goes back; the numbers are those of torch's own Adam.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim.adam import adam
from typing_extensions import override


class OffloadedAdam(torch.optim.Optimizer):
    """Adam (Kingma and Ba 2015) without weight decay, moments in the CPU's memory."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float],
        eps: float = 1e-8,
    ):
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps})

    @override
    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict[str, object]) -> None:
        """One parameter; of a sharded one, this process's share."""
        weight, gradient = shard_of(parameter), shard_of(parameter.grad)
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = torch.zeros_like(weight, device="cpu")
        kept = (state["exp_avg"], state["exp_avg_sq"])
        mean, square = (moment.to(weight.device) for moment in kept)
        adam(
            *([weight], [gradient], [mean], [square], [], [state["step"]]),
            foreach=False,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )
        for moment, updated in zip(kept, (mean, square), strict=True):
            moment.copy_(updated)


def shard_of(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor; all of it unless the model is sharded."""
    return getattr(tensor, "_local_tensor", tensor)
