"""What it saves that freed memory is kept: a training step with and without, side by side.

    python benchmarks/memory.py   # two minutes

Models of the demo's three sizes with random weights; a step like twin's, four statistics of 16 rows
and the divergence on 16 others. glibc's setting cannot be taken back, so each repetition is a
process of its own, the two kinds by turns; a ratio is that of CPU seconds.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from transformers import GPTNeoConfig, GPTNeoForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from unlearning.jobs.console import keep_freed_memory
from unlearning.unlearners.learner import Learner
from unlearning.unlearners.readings import Reading, Views, mean_of

VOCABULARY, LENGTH, ROWS, STEPS = 2048, 56, 16, 20
VIEWS = ("log_p", "margin", "entropy", "variance")


def squares(views: Views) -> torch.Tensor:
    """An objective that asks for the views' values first."""
    return sum(getattr(views, name).square().mean() for name in VIEWS)


def step_seconds(width: int) -> tuple[float, int]:
    """CPU seconds of a step, and how many thousand pages one was given."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = GPTNeoForCausalLM(
        GPTNeoConfig(
            vocab_size=VOCABULARY, hidden_size=width, num_layers=2, num_heads=2,
            attention_types=[[["global", "local"], 1]], max_position_embeddings=64,
            bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip
    learner = Learner(model, 1e-4, 64)
    forget, keep = torch.randint(VOCABULARY, (2, ROWS, LENGTH))
    now = learner.remember(keep)
    terms = (Reading(forget, VIEWS), squares), mean_of(Reading(keep, ("divergence",), now))
    learner.step(*terms)
    pages, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
    for _ in range(STEPS):
        learner.step(*terms)
    seconds = (time.process_time() - start) / STEPS
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - pages) // (1000 * STEPS)


def main() -> None:
    """Measure by turns, print a row for each width."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("KIND", "WIDTH"), help="measure once")
    arguments = parser.parse_args()
    if arguments.child:
        kind, width = arguments.child
        if kind == "kept":
            keep_freed_memory()
        print(*step_seconds(int(width)))
        return
    print("| width | default, s | kept, s | ratio [lowest, highest] | 1000 pages a step |")
    print("|---|---|---|---|---|")
    for width in (48, 96, 192):
        found = {"default": [], "kept": []}
        for _ in range(arguments.repeats):
            for kind, values in found.items():
                command = [sys.executable, __file__, "--child", kind, str(width)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                values.append([float(word) for word in done.stdout.split()])
        default, kept = ([value for value, _ in values] for values in found.values())
        ratios = sorted(a / b for a, b in zip(default, kept, strict=True))
        pages = " / ".join(f"{values[0][1]:.0f}" for values in found.values())
        print(
            f"| {width} | {min(default):.3f} | {min(kept):.3f} |"
            f" {ratios[len(ratios) // 2]:.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}] | {pages} |"
        )


if __name__ == "__main__":
    main()
