"""To Each (Textual Sequence) Its Own: unlearning memorized text, each by its own degree.

sequences ─► original model ─► memorization ─► thresholds
    │                                              │
forget sets ──────────────────────► unlearn (model x forget size x unlearner x seed)
                                                   │
                             memorization, privacy attack, NLP suite
                                                   │
                              tables ─► map, claims, figures, report
"""

from snakemake.utils import min_version

min_version("9.27")


# a config file stands for itself: only without one is the demo's taken
if not workflow.config_settings.configfiles:

    configfile: "config/config.yaml"


include: "rules/common.smk"
include: f"rules/{SOURCE}.smk"
include: "rules/models.smk"
include: "rules/tuning.smk"
include: "rules/unlearning.smk"


if CONFIG["shadows"]:

    include: "rules/shadows.smk"


include: "rules/analysis.smk"


onstart:
    hold_folder()
    forget_tries()


onerror:
    tell_causes(log)


rule all:
    default_target: True
    input:
        [*TABLES, *FIGURES, *CLAIMS, f"{RESULTS}/index.html"] if CELLS else [],
        AUDIT,
        f"{RESULTS}/provenance.json",
        KEPT,


rule tables:
    input:
        TABLES,


rule figures:
    input:
        FIGURES,


rule tune:
    input:
        tuning_table,
