"""Which limits one unlearned model keeps, and whether text that was never seen keeps them."""

from collections.abc import Mapping
from typing import Any

from unlearning.analysis.audit.document import Limit, Measured
from unlearning.analysis.audit.results import Results
from unlearning.analysis.audit.words import plainly
from unlearning.limits import at_most
from unlearning.names import METRICS
from unlearning.settings.analysis import SolutionSettings


def limits_of(
    results: Results, key: Mapping[str, Any], label: str, rule: SolutionSettings
) -> tuple[Limit, ...]:
    """The limits, each beside what was never seen."""
    made = []
    for metric, limit in rule.limits():
        same = f"unseen_{metric}"
        value = results.metric(key, label, metric)
        # of unseen sequences on the original; an attack on the list is harmless on the control
        untouched = (
            results.metric(key, "original", same)
            if same in METRICS
            else results.metric(key, "control", metric)
        )
        made.append(
            Limit(
                name=plainly(metric),
                limit=limit,
                found=Measured(value=value),
                kept=value is not None and bool(at_most(value, limit)),
                untouched=untouched,
                reachable=untouched is None or bool(at_most(untouched, limit)),
            )
        )
    return tuple(made)
