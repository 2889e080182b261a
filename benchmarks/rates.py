"""What a machine does with GPT-Neo: training steps, scoring, decoding, memory; random weights.

    python benchmarks/rates.py --size 125m --json benchmarks/rates.json

Prints for each of the three kinds of work the seconds, tokens a second and 10^12 floating-point
operations a second (2 a parameter and token forward, 4 backward), and the peak memory. On a GPU
also the share of the peak of its matrix units, given with `--peak` (from its data sheet).
"""

import argparse
import json
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import GPTNeoConfig, GPTNeoForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from unlearning.jobs.files import write_json
from unlearning.memorization.scoring import extraction_likelihood, score_tokens
from unlearning.unlearners.learner import Learner

# the published shapes
SHAPES = {
    "125m": {"hidden_size": 768, "num_layers": 12, "num_heads": 12},
    "1.3b": {"hidden_size": 2048, "num_layers": 24, "num_heads": 16},
    "2.7b": {"hidden_size": 2560, "num_layers": 32, "num_heads": 20},
}
REPEATS = 3


def random_model(shape: dict[str, int], device: str, vocabulary: int = 50257) -> GPTNeoForCausalLM:
    """A GPT-Neo of a shape as in `SHAPES` that knows nothing."""
    config = GPTNeoConfig(
        **shape,
        vocab_size=vocabulary,
        attention_types=[[["global", "local"], shape["num_layers"] // 2]],
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(0)
    with torch.device(device):
        return GPTNeoForCausalLM(config).eval()


def seconds(work: Callable[[], object], device: str) -> float:
    """The best of several runs, after one that warms up.

    Wall time on a GPU. On a CPU the time of all its threads over their number: what a quiet machine
    would take, whatever else this one does now.
    """

    def now() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time() / torch.get_num_threads()

    taken = []
    for _ in range(REPEATS + 1):
        begin = now()
        work()
        taken.append(now() - begin)
    return min(taken[1:])


def measure(learner: Learner, rows: torch.Tensor) -> dict[str, tuple[float, float, int]]:
    """Kind of work -> seconds, floating-point operations, tokens.

    Args:
        learner: holds the model.
        rows: (N, T) tokens, T at least 12.
    """
    model, device = learner.model, rows.device.type
    count = sum(p.numel() for p in model.parameters())
    # no prefix of a random model stays in the text: all are decoded, position by position
    few = rows[: max(1, len(rows) // 8), :64]
    length = few.shape[1]
    # up to where an n-gram can still be completed
    decoded = len(few) * sum(length - 10 - t for t in range(1, length - 10))
    kinds = {
        "steps": (lambda: learner.ascend(rows), 6, rows.numel()),
        "passes": (lambda: score_tokens(model, rows), 2, rows.numel()),
        "decoding": (lambda: extraction_likelihood(model, few, 10), 2, decoded),
    }
    return {
        kind: (seconds(work, device), each * count * read, read)
        for kind, (work, each, read) in kinds.items()
    }


def main() -> None:
    """Measure and print; add the row to the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--size", choices=SHAPES, default="125m")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak", type=float, help="10^12 operations a second of the data sheet")
    parser.add_argument("--json", type=Path, help="file of rows by machine; this one is replaced")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = random_model(SHAPES[options.size], options.device)
    count = sum(p.numel() for p in model.parameters())
    rows = torch.randint(50257, (options.sequences, options.length), device=options.device)
    machine = f"{options.threads} CPU thread(s)"
    if options.device == "cuda":
        machine = torch.cuda.get_device_name()
        torch.cuda.reset_peak_memory_stats()
    learner = Learner(
        model, 1e-9, 8, precision=options.precision, checkpointing=options.checkpointing
    )
    measured = measure(learner, rows)
    if options.device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 1e9
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(
        f"GPT-Neo {options.size}, {count / 1e6:.0f} million parameters, steps {options.precision}"
    )
    print(f"{machine}, {platform.machine()}; peak memory {peak:.2f} GB")
    row: dict[str, object] = {"machine": machine, "size": options.size}
    for kind, (taken, operations, read) in measured.items():
        rate = operations / taken / 1e12
        share = f", {rate / options.peak:.1%} of the peak" if options.peak else ""
        print(
            f"  {kind:9} {taken:8.3f} s  {read / taken:10.0f} tokens/s  {rate:8.4f} TFLOP/s{share}"
        )
        row[kind] = float(f"{rate:.3g}")
    if options.json:
        known = json.loads(options.json.read_text()) if options.json.exists() else []
        write_json([*(r for r in known if r["machine"] != machine), row], options.json)


if __name__ == "__main__":
    main()
