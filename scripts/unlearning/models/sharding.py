"""One model over several processes, a GPU each: weights, gradients and Adam's moments in shards.

Started by `torchrun`, every process calls the same functions in the same order. Selection is made
from g of the whole forget set, which every process holds, so it does not depend on their number.
"""

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel
from typing_extensions import override

from unlearning.jobs.parts import Made, Part, Parts, work_through
from unlearning.models.readers import LibraryReader


def join(device: torch.device) -> None:
    """Meet the other processes, if torchrun has started several, each with a device of its own."""
    if processes() > 1 and not dist.is_initialized():
        if device.type == "cuda":  # each process may see its own device alone
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def leave() -> None:
    """Part from the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def processes() -> int:
    """How many processes share the model."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Which of them this is; 0 writes the results."""
    return int(os.environ.get("RANK", 0))


def wait() -> None:
    """Wait until all processes are here."""
    if dist.is_initialized():
        dist.barrier()


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


def shard(model: PreTrainedModel) -> PreTrainedModel:
    """Spread a model's parameters over the processes, block by block (FSDP); in place."""
    if processes() > 1:
        # it warns of writes into its output; scoring, without gradients, does just that
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
        mesh = init_device_mesh(model.device.type, (processes(),))
        for part in (*blocks(model), model):
            fully_shard(part, mesh=mesh)
    return model


def blocks(model: PreTrainedModel) -> list[torch.nn.Module]:
    """The model's layers, as the architecture itself names what must not be split."""
    names = set(model._no_split_modules or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def is_sharded(model: PreTrainedModel) -> bool:
    """Whether `shard` has spread this model."""
    return isinstance(model, FSDPModule)


def least(value: int, device: torch.device) -> int:
    """The smallest of the processes' values."""
    if not dist.is_initialized():
        return value
    smallest = torch.tensor(int(value), device=device)
    dist.all_reduce(smallest, dist.ReduceOp.MIN)
    return int(smallest)


def add_up(table: Tensor) -> Tensor:
    """Sum a table over the processes, in place; every one of them then holds all of it."""
    if dist.is_initialized():
        dist.all_reduce(table)
    return table


def whole(parameter: Tensor) -> Tensor:
    """A parameter as one, gathered from the processes if the model is sharded."""
    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter


def share_of(value: Tensor, parameter: Tensor) -> Tensor:
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
        self.model.reshard()
        return output
