"""What an audit costs on a real model's shape, attack by attack, and how near it is to the bottom.

A Llama of the shape of SmolLM2-135M with random weights is attacked on a few random sequences. For
each attack: CPU seconds, the floating-point operations that it asked for (as torch counts them),
and the seconds that those would take at the speed of one large matrix product, measured in between.
Where both are close only fewer operations can make an attack cheaper.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from scoring import new_model
from unlearning import attacks
from unlearning.attacks.target import ProbeSettings, Target
from unlearning.memorization.scoring import extraction_likelihood


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process that `work` took."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def speed() -> float:
    """Floating-point operations a second of a large matrix product; the best of three."""
    left, right = torch.randn(2048, 576), torch.randn(576, 1536)
    each = 2 * left.numel() * right.shape[1]
    return max(10 * each / cpu_seconds(lambda: [left @ right for _ in range(10)]) for _ in range(3))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--size", default="llama-135m", choices=["llama", "llama-135m"])
    parser.add_argument("--sequences", type=int, default=2)
    parser.add_argument("--length", type=int, default=48)
    parser.add_argument("--suffix", type=int, default=16)
    parser.add_argument("--n", type=int, default=10, help="of EL_n")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = new_model(options.size, options.length, "cpu")
    tokens = torch.randint(model.config.vocab_size, (options.sequences, options.length))
    shared = ProbeSettings(
        attacks={}, suffix=options.suffix, learning_rate=1e-9, micro_batch=options.sequences
    )
    ids = [str(number) for number in range(options.sequences)]
    forget = np.ones(options.sequences, dtype=bool)

    def attack(name: str) -> Callable[[], object]:
        target = Target(model, ids, tokens, forget, shared)
        assert target.before  # what attacks share is measured before any of them
        module = attacks.load(name)
        return lambda: module.attack(target, attacks.settings_of(name, None))

    works = {name: attack(name) for name in attacks.names() if attacks.on_model(name)}
    works[f"EL_{options.n}"] = lambda: extraction_likelihood(model, tokens, options.n)
    print(f"{options.size}, {options.sequences} sequences of {options.length} tokens, CPU seconds")
    print("attack               |  seconds | 10^12 operations | at full speed | ratio")
    for name, work in works.items():
        with FlopCounterMode(display=False) as counter:
            work()
        operations = counter.get_total_flops()
        taken, least = cpu_seconds(work), operations / speed()
        print(
            f"{name:20} | {taken:8.2f} | {operations / 1e12:16.3f} | {least:13.2f} |"
            f" {taken / least:5.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
