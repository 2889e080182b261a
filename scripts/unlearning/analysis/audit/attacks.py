"""What each attack found on the model that the page is about, beside the original and control."""

from collections.abc import Callable, Mapping
from typing import Any

from unlearning import attacks
from unlearning.analysis.audit.document import AttackAudit, Measured
from unlearning.analysis.audit.results import Results, number
from unlearning.analysis.audit.words import plainly
from unlearning.settings.analysis import SolutionSettings


def attacks_of(
    results: Results, key: Mapping[str, Any], label: str, rule: SolutionSettings
) -> tuple[AttackAudit, ...]:
    """What the basic attack and those of the suite found on one model."""

    def beside(value_of: Callable[[str], float | None]) -> dict[str, float | None]:
        return {"before": value_of("original"), "control": value_of("control")}

    who = results.strictest(key, label, rule.attack_metric)
    judging = {"attack_auc_worst": "membership by single scores"}
    judging |= {rule.attack_metric: f"strictest of all: {who}"} if who else {}
    found = [
        AttackAudit(
            name=name,
            measure=plainly(metric),
            found=Measured(value=results.metric(key, label, metric)),
            **beside(lambda who, metric=metric: results.metric(key, who, metric)),
        )
        for metric, name in judging.items()
    ]
    effects = results.of("effects", key)
    for name, rows in effects.groupby("attack", sort=True):
        module = attacks.load(str(name))
        measure, kind = module.HEADLINE
        rows = rows[rows["variant"] == rows["variant"].iloc[0]]
        rows = rows[(rows["measure"] == measure) & (rows["metric"] == kind)]
        rows = rows.drop_duplicates("unlearner").set_index("unlearner")
        if label not in rows.index:
            continue
        row = rows.loc[label]
        found.append(
            AttackAudit(
                name=f"{module.TITLE} {row['variant'].replace('_', ' ')}",
                measure=module.UNIT,
                found=Measured(
                    value=number(row["value"]),
                    low=number(row["low"]),
                    high=number(row["high"]),
                    n=int(row["members"]),
                ),
                **beside(
                    lambda who, rows=rows: (
                        number(rows.loc[who, "value"]) if who in rows.index else None
                    )
                ),
            )
        )
    return tuple(found)
