"""What each method of unlearning came to."""

from collections.abc import Mapping
from typing import Any

from unlearning.analysis.audit.document import Measured, MethodAudit
from unlearning.analysis.audit.limits import limits_of
from unlearning.analysis.audit.results import Results
from unlearning.analysis.audit.sequences import judged_sequences
from unlearning.memorization.forgetting import Band
from unlearning.names import method_name
from unlearning.settings.analysis import SolutionSettings

OUTCOMES = {
    "stopped": "reached its stop rule",
    "finished": "came to its own end",
    "met_at_start": "had nothing to do: the stop rule was met at the start,",
    "cap": "did NOT reach its stop rule; it was ended",
    "diverged": "broke the model (no finite numbers)",
}


def method_of(
    results: Results, key: Mapping[str, Any], label: str, rule: SolutionSettings, band: Band
) -> MethodAudit:
    """One method: limits, utility, how many sequences fail."""
    run = results.of("runs", key, label).iloc[0]
    judged = judged_sequences(results, key, label, band).values()
    limits = limits_of(results, key, label, rule)
    diverged = run["status"] == "diverged"
    return MethodAudit(
        label=label,
        name=method_name(label),
        outcome=f"{OUTCOMES[run['status']]} after {run['epochs']} steps",
        safe=not diverged and all(limit.kept for limit in limits),
        limits=limits,
        utility=Measured(value=results.metric(key, label, rule.utility_metric)),
        failed=sum(not sequence.passed for sequence in judged),
        still_known=sum("still" in sequence.reason for sequence in judged),
        standing_out=sum("less known" in sequence.reason for sequence in judged),
    )
