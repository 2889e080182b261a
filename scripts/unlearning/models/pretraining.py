"""Trains the demo's tiny GPT-Neo models from scratch, so that they really memorize.

A training is a function of rows, settings and seed: the same three give the same bytes on the
same machine, whether it ran through or was killed and resumed.
"""

import contextlib
import hashlib
import json
import math
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from transformers import GPTNeoConfig, GPTNeoForCausalLM, PreTrainedTokenizerBase

from unlearning.jobs.errors import InputError
from unlearning.jobs.files import remove, replacing
from unlearning.jobs.progress import progress
from unlearning.models.loading import arithmetic
from unlearning.settings.pretraining import PretrainingSettings


def training_rows(background: np.ndarray, planted: pd.DataFrame | None = None) -> np.ndarray:
    """The rows of one training: the background once, each planted sequence as often as it says.

    Args:
        background: (N, T) uint16 rows.
        planted: the planted rows of the table of sequences; none for the control model, which
            has everything else in common.

    Returns:
        uint16 rows (N + sum of repetitions, T), not shuffled.

    Raises:
        InputError: a sequence is not as long as the background's rows.
    """
    if planted is None or planted.empty:
        return background
    length = background.shape[1]
    for name, tokens in zip(planted["sequence_id"], planted["tokens"], strict=True):
        if len(tokens) != length:
            raise InputError(
                f"sequence {name} has {len(tokens)} tokens, the background's rows have {length}; "
                "take both from the same corpus"
            )
    tokens = np.stack(planted["tokens"].to_list()).astype(background.dtype)
    return np.concatenate([background, np.repeat(tokens, planted["repetitions"], axis=0)])


def pretrain(
    rows: np.ndarray,
    settings: PretrainingSettings,
    seed: int,
    tokenizer: PreTrainedTokenizerBase,
    work: Path | str,
    device: str = "cpu",
    checkpoint_seconds: float = 20.0,
) -> GPTNeoForCausalLM:
    """Train one model for one pass over the rows.

    Args:
        rows: (N, T) token rows; their order is drawn from the seed. What does not fill a last
            batch is left out.
        settings: model and training.
        seed: of the initial weights and of the order.
        tokenizer: gives the size of the vocabulary and the end-of-text token.
        work: side folder for the checkpoint of a training under way. A rerun after a kill goes
            on from there if rows, settings, seed and device are the same, otherwise from the
            start. Nothing is left there at the end.
        device: "cpu" or a CUDA device.
        checkpoint_seconds: time between checkpoints.

    Returns:
        the model in float32 on `device`, in evaluation mode.

    Raises:
        InputError: there are fewer rows than one batch, or a token the tokenizer lacks.
    """
    if len(rows) < settings.batch_size:
        raise InputError(
            f"pretraining: {len(rows)} rows do not fill a batch of {settings.batch_size}; "
            "lower batch_size or give more text"
        )
    if int(rows.max()) >= len(tokenizer):
        raise InputError(
            f"pretraining: token {int(rows.max())} is outside the tokenizer's {len(tokenizer)}; "
            "take rows and tokenizer from the same corpus"
        )
    model = _new_model(settings, rows.shape[1], tokenizer, seed).to(device)
    optimizer = _new_optimizer(model, settings)
    order = np.random.default_rng([seed, 1]).permutation(len(rows))
    steps = len(rows) // settings.batch_size

    checkpoint = Path(work) / "checkpoint.safetensors"
    key = _fingerprint(rows, settings, seed, tokenizer, device)
    done = _load_checkpoint(checkpoint, key, model, optimizer)
    saved = time.monotonic()
    model.train()
    with progress(total=steps, initial=done, desc="pretraining", unit="step") as bar:
        for step in range(done, steps):
            chosen = order[step * settings.batch_size : (step + 1) * settings.batch_size]
            batch = torch.from_numpy(rows[chosen].astype(np.int64)).to(device)
            for group in optimizer.param_groups:
                group["lr"] = _learning_rate(step, steps, settings)
            loss = _train_step(model, optimizer, batch, settings)
            bar.update()
            if step % 50 == 0:
                bar.set_postfix(loss=f"{float(loss):.3f}", refresh=False)
            if time.monotonic() - saved >= checkpoint_seconds:
                _save_checkpoint(checkpoint, key, model, optimizer, step + 1)
                saved = time.monotonic()
    _clear(checkpoint)
    return model.eval()


def _train_step(
    model: GPTNeoForCausalLM,
    optimizer: torch.optim.Optimizer,
    batch: torch.Tensor,
    settings: PretrainingSettings,
) -> torch.Tensor:
    """One step of descent on the batch's mean token loss; returns that loss."""
    half = settings.precision == "bf16"
    with torch.autocast(batch.device.type, dtype=torch.bfloat16, enabled=half):
        # without the last token: it predicts nothing, and cutting off its logits would copy all
        logits = model(batch[:, :-1], use_cache=False).logits
    loss = cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
    optimizer.step()
    return loss.detach()


def _learning_rate(step: int, steps: int, settings: PretrainingSettings) -> float:
    """Linear warm-up, then a cosine from the highest rate to its final share."""
    warmup = max(1, round(settings.warmup_share * steps))
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    part = (step - warmup) / max(1, steps - warmup)
    low = settings.final_share
    return settings.learning_rate * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * part)))


def _new_model(
    settings: PretrainingSettings, length: int, tokenizer: PreTrainedTokenizerBase, seed: int
) -> GPTNeoForCausalLM:
    """A model with random weights, drawn without touching the caller's random state."""
    config = GPTNeoConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=4 * length,
        hidden_size=settings.hidden_size,
        num_layers=settings.layers,
        num_heads=settings.heads,
        attention_types=[[["global", "local"], settings.layers // 2]],
        window_size=settings.window,
        activation_function=settings.activation,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPTNeoForCausalLM(config)


def _new_optimizer(
    model: GPTNeoForCausalLM, settings: PretrainingSettings
) -> torch.optim.Optimizer:
    """AdamW that decays matrices and leaves biases and norms alone."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


def _fingerprint(
    rows: np.ndarray,
    settings: PretrainingSettings,
    seed: int,
    tokenizer: PreTrainedTokenizerBase,
    device: str,
) -> str:
    """Names a training: a checkpoint with another name is of another training."""
    facts = {
        "rows": hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest(),
        "shape": rows.shape,
        "type": str(rows.dtype),
        "settings": asdict(settings),
        "seed": seed,
        "tokenizer": [len(tokenizer), tokenizer.eos_token_id],
        "device": device,
        "arithmetic": arithmetic(),
        "versions": [torch.__version__, transformers.__version__],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _flat_state(
    model: GPTNeoForCausalLM, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The live tensors of weights and of the optimizer's state, by name."""
    weights = {f"weights.{name}": tensor for name, tensor in model.named_parameters()}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        f"optimizer.{i}.{name}": tensor
        for i, parameter in enumerate(parameters)
        for name, tensor in optimizer.state.get(parameter, {}).items()
    }
    return weights, moments


def _save_checkpoint(
    path: Path,
    key: str,
    model: GPTNeoForCausalLM,
    optimizer: torch.optim.Optimizer,
    done: int,
) -> None:
    """One file, so that weights and optimizer state are always of the same step."""
    weights, moments = _flat_state(model, optimizer)
    with replacing(path) as scratch:
        save_file(weights | moments, scratch, metadata={"key": key, "done": str(done)})


def _clear(checkpoint: Path) -> None:
    """Remove the checkpoint, what a kill left of writing one, and the folder if that was all."""
    for left in (checkpoint, *checkpoint.parent.glob(f".{checkpoint.name}.partial-*")):
        remove(left)
    with contextlib.suppress(OSError):  # not there, or someone else's files are in it
        checkpoint.parent.rmdir()


def _load_checkpoint(
    path: Path, key: str, model: GPTNeoForCausalLM, optimizer: torch.optim.Optimizer
) -> int:
    """Load the checkpoint if it is of this training; returns how many steps are done.

    Learning rate and order of rows follow from the step, and there is no dropout: weights and
    the optimizer's moments are all the state there is.
    """
    if not path.exists():
        return 0
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("key") != key:
                return 0
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            done = int(file.metadata()["done"])
    except SafetensorError:  # not one of ours: writes are atomic
        return 0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"weights.{name}"])
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, parameter in enumerate(parameters):
        prefix = f"optimizer.{i}."
        # clone: fresh memory is aligned as in an undisturbed run, a mapped file's is not
        optimizer.state[parameter] = {
            name.removeprefix(prefix): tensor.to(parameter.device).clone()
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
    return done
