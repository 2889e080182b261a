"""The examples that CONTRIBUTING.md shows do what it says they do."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import GPTNeoConfig, GPTNeoForCausalLM

from running import ROOT
from unlearning.attacks.target import Target, TargetSettings
from unlearning.unlearners.learner import Learner

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture
def model():
    torch.manual_seed(0)
    size = {"vocab_size": 11, "hidden_size": 8, "num_layers": 2, "num_heads": 2}
    types = [[["global", "local"], 1]]
    config = GPTNeoConfig(**size, attention_types=types, window_size=4, max_position_embeddings=16)
    return GPTNeoForCausalLM(config).eval()


def example(title: str) -> SimpleNamespace:
    """The Python block whose docstring begins with `title`, as a module."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    found = next(block for block in blocks if block.startswith(f'"""{title}'))
    space = {"__name__": "example"}
    exec(compile(found, title, "exec"), space)
    return SimpleNamespace(**space)


def test_the_unlearner_pushes_the_worst_sequence(model):
    module = example("Worst first")
    rows = torch.randint(11, (3, 8), generator=torch.Generator().manual_seed(1))
    pushed = []
    learner = Learner(model, 1e-3, 8)
    learner.ascend = lambda part: pushed.append(part.tolist())
    steps = module.unlearn(learner, SimpleNamespace(forget=rows), module.Settings())
    assert next(steps) == "before"
    assert steps.send(np.array([0.1, 0.9, 0.3])) == "ascent"
    assert pushed == [rows[1:2].tolist()]


def test_the_attack_gives_one_value_a_sequence(model):
    module = example("Last token")
    settings = TargetSettings(attacks={}, suffix=2, learning_rate=1e-3, micro_batch=4)
    rows = torch.randint(11, (3, 8), generator=torch.Generator().manual_seed(1))
    target = Target(model, ["a", "b", "c"], rows, np.array([True, False, False]), settings)
    found = module.attack(target, module.Settings())
    with torch.no_grad():
        log_p = model(rows).logits.log_softmax(-1)[:, -2].gather(1, rows[:, -1:])[:, 0]
    np.testing.assert_allclose(found["value"], log_p, rtol=1e-5)
    assert found["sequence_id"].tolist() == ["a", "b", "c"]
    assert module.HEADLINE[0] in set(found["measure"])
