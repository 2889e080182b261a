"""The NLP suite: what a model can still do, item by item.

A task is a name, a kind and a file of items (JSON lines). `items` reads and checks the files,
`suite` scores a model on them with the evaluation harness (lm-eval), `scoring` holds what makes an
item's value of the model's answers, and `aggregate` makes a task's score of its items' values.
"""

from typing import Any

FROM_SUITE = ("Suite", "Task", "evaluate", "load_suite")


def __getattr__(name: str) -> Any:
    # Only `suite` needs torch and the harness; the analysis imports `aggregate` without them.
    if name in FROM_SUITE:
        from unlearning.evaluation import suite

        return getattr(suite, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
