"""One model over several processes, a GPU each: weights, gradients and Adam's moments in shards.

Started by `torchrun` or `accelerate launch`, every process calls the same functions in the same
order. Selection is made from g of the whole forget set, which every process holds, so it does not
depend on their number. accelerate does the meeting and the sharding (FSDP2); how precise, and what
waits in the CPU's memory, the workflow's own settings say, as for one process.
"""

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import (
    FullyShardedDataParallelPlugin,
    fsdp2_prepare_model,
    gather,
    reduce,
)
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel
from typing_extensions import override

from unlearning.jobs.parts import Made, Part, Parts, work_through
from unlearning.models.loading import load_model
from unlearning.models.readers import LibraryReader


def join(device: torch.device) -> None:
    """Meet the other processes, if several were started, each with a device of its own."""
    if processes() > 1:
        PartialState(cpu=device.type == "cpu")


def leave() -> None:
    """Part from the other processes."""
    if processes() > 1:
        PartialState().destroy_process_group()


def processes() -> int:
    """How many processes share the model."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Which of them this is; 0 writes the results."""
    return int(os.environ.get("RANK", 0))


def wait() -> None:
    """Wait until all processes are here."""
    if processes() > 1:
        PartialState().wait_for_everyone()


def work_together(
    parts: Mapping[str, Part],
    make: Callable[[Part], Made],
    work: Path,
    key: str,
    *,
    label: str,
    device: torch.device,
) -> Parts | None:
    """`jobs.parts.work_through` by all processes that share the model, which part at its end.

    Returns:
        What it returns in the first process, which writes the outputs; None in the others.
    """
    join(device)
    done = work_through(parts, make, work, key, label=label, first=rank() == 0, meet=wait)
    leave()
    return None if rank() else done


def load(folder: Path | str, device: torch.device) -> PreTrainedModel:
    """`load_model`, spread over the processes block by block (FSDP2) where there are several.

    It comes to the CPU first: a model that needs several devices has room on none of them.
    """
    if processes() == 1:
        return load_model(folder, device)
    model = load_model(folder, torch.device("cpu"))
    # it warns of writes into its output; scoring, without gradients, does just that
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=blocks(model),
        cpu_offload=False,
    )
    accelerator = Accelerator(mixed_precision="no", cpu=device.type == "cpu", fsdp_plugin=plugin)
    accelerator.state.fsdp_plugin = plugin  # which it takes over by itself on GPUs alone
    return fsdp2_prepare_model(accelerator, model)


def blocks(model: PreTrainedModel) -> list[str]:
    """The classes of the model's layers: what the architecture itself says must not be split."""
    there = {type(module).__name__ for module in model.modules()}
    return sorted(there & set(model._no_split_modules or ()))


def is_sharded(model: PreTrainedModel) -> bool:
    """Whether `load` has spread this model."""
    return isinstance(model, FSDPModule)


def reshard(model: PreTrainedModel) -> None:
    """Give up what a forward pass gathered, where no backward pass will.

    A step's new weights are not seen by a pass that finds the old ones still there.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def least(value: int, device: torch.device) -> int:
    """The smallest of the processes' values."""
    if processes() == 1:
        return value
    return int(gather(torch.tensor([int(value)], device=device)).min())


def add_up(table: Tensor) -> Tensor:
    """The sum of a table over the processes; every one of them then holds all of it."""
    return reduce(table, "sum") if processes() > 1 else table


def whole(parameter: Tensor) -> Tensor:
    """A parameter as one, gathered from the processes if the model is sharded."""
    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter


def split_like(value: Tensor, parameter: Tensor) -> Tensor:
    """What this process holds, of a parameter, of a value that every process has whole."""
    if not isinstance(parameter, DTensor):
        return value
    return distribute_tensor(value, parameter.device_mesh, parameter.placements).to_local()


def whole_weights(model: PreTrainedModel) -> dict[str, Tensor] | None:
    """All weights on the CPU of process 0, for saving; None says that the model holds them."""
    if not is_sharded(model):
        return None
    state = get_model_state_dict(
        model, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
    )
    # parameters() names a tied matrix once, the state dict twice
    once = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    return {name: value for name, value in state.items() if name in once}


class ShardedReader(LibraryReader):
    """A sharded model by its own forward pass, the only call that gathers its weights.

    Every process runs all rows: each forward pass needs all of them, with a share of the weights.
    """

    @override
    def splits(self) -> bool:
        return False

    @override
    def whole(self, tokens: Tensor, **options: object) -> object:
        output = super().whole(tokens, **options)
        reshard(self.model)
        return output
