"""The audit of one list of sequences: what each model knew, what is left, and which limits hold.

`audit` puts the document together from the tables of a run, `page.audit_page` shows it; neither
holds a text or a token.
"""

from collections.abc import Mapping
from typing import Any

from unlearning.analysis.audit.attacks import attacks_of
from unlearning.analysis.audit.comparability import comparability_of
from unlearning.analysis.audit.document import Audit, Measured, ModelAudit, SequenceAudit
from unlearning.analysis.audit.job import AuditJob
from unlearning.analysis.audit.methods import method_of
from unlearning.analysis.audit.results import Results
from unlearning.analysis.audit.sequences import judged_sequences, knowledge
from unlearning.analysis.audit.words import answer, plainly, steps, untested
from unlearning.analysis.solution_space import REFERENCES
from unlearning.memorization.forgetting import about_band, coverage, thresholds_of

LIST = ["model", "forget_size", "seed"]
"""What tells one list on one model from the others."""


def audit(
    results: Results,
    job: AuditJob,
    weights: Mapping[str, Mapping[str, str]],
    provenance: Mapping[str, Any],
    date: str,
) -> Audit:
    """The whole document.

    Args:
        results: the tables of the run.
        job: what the config says.
        weights: model -> file -> SHA-256.
        provenance: as provenance.json holds it.
        date: of today, ISO 8601.
    """
    keys = results.tables["membership"][LIST].drop_duplicates().sort_values(LIST)
    models = tuple(
        model_audit(results, key, job, weights[key["model"]]) for key in keys.to_dict("records")
    )
    return Audit(
        run=job.run,
        date=date,
        trial=job.limit is not None,
        files={key: dict(file) for key, file in provenance["files"].items()},
        bos=job.bos,
        begun=None if job.bos is None else bool(provenance["files"]["forget"]["begun"]),
        code=dict(provenance["git"]),
        versions=dict(provenance["versions"]),
        models=models,
        not_tested=untested(models, job),
        next_steps=steps(models, job),
    )


def model_audit(
    results: Results, key: Mapping[str, Any], job: AuditJob, weights: Mapping[str, str]
) -> ModelAudit:
    """One model and one list, from the tables of the run."""
    rule, model = job.rule, str(key["model"])
    limits = thresholds_of(results.tables["thresholds"], model)
    band = limits.calibrated
    original, control = (results.membership(key, who) for who in ("original", "control"))
    before = knowledge(original, control)
    labels = [
        label for label in results.of("runs", key)["unlearner"].unique() if label not in REFERENCES
    ]
    cell = {name: key[name] for name in ("model", "forget_size")}
    ranked = results.of("candidates", cell).sort_values("rank")["unlearner"].tolist()
    methods = [method_of(results, key, label, rule, band) for label in ranked if label in labels]
    chosen = next((method.label for method in methods if method.safe), None)
    nearest = methods[0].label if methods and chosen is None else None
    shown = chosen or nearest
    after = judged_sequences(results, key, shown, band) if shown else {}
    return ModelAudit(
        model=model,
        origin=job.origins[model],
        weights=dict(weights),
        control=job.controls.get(model),
        list_size=int(key["forget_size"]),
        draw=int(key["seed"]),
        unseen=int((original["split"] == "unseen").sum()),
        threshold=limits.ma_mean,
        band=(band.low, band.high),
        within=limits.quantiles[1] - limits.quantiles[0],
        covers=coverage(limits.n, limits.quantiles),
        about_band=about_band(limits.n, limits.quantiles),
        comparability=comparability_of(original, control, results.tokens),
        answer=answer(before, methods, chosen, nearest, after),
        chosen=chosen,
        nearest=nearest,
        utility_before=Measured(value=results.metric(key, "original", rule.utility_metric)),
        utility_metric=plainly(rule.utility_metric),
        methods=tuple(methods),
        sequences=tuple(
            SequenceAudit(
                id=name,
                tokens=len(results.tokens[name]),
                before=known,
                **(after[name]._asdict() if shown else {}),
            )
            for name, known in before.items()
        ),
        attacks=attacks_of(results, key, shown or "original", rule),
    )
