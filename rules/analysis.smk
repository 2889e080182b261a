"""From tidy results to tables, figures and verdicts. No job here imports torch."""

TABLES = multiext(
    f"{RESULTS}/tables/",
    "main.csv",
    "outliers.csv",
    "attack.csv",
    "utility.csv",
    "gains.csv",
    "solution_space.csv",
    "original.csv",
    "per_run.csv",
    "cost.csv",
)
FIGURES = expand(
    f"{RESULTS}/figures/{{figure}}.{{format}}",
    figure=[
        "memorization",
        "forgetting_histogram",
        "trajectories",
        "attack_roc",
        "privacy_utility",
        "solution_space",
        "gains",
        "utility",
    ],
    format=["svg", "png", "pdf"],
)
CLAIMS = multiext(f"{RESULTS}/claims", ".json", ".md")


rule attack:
    input:
        script=script("attack.py"),
        code=code("attack.py"),
        membership=f"{RESULTS}/membership.parquet",
        thresholds=f"{RESULTS}/thresholds.csv",
    output:
        runs=f"{RESULTS}/attack_runs.parquet",
        exposed=f"{RESULTS}/attack_exposed.csv",
    log:
        f"{LOGS}/attack.log",
    benchmark:
        f"{LOGS}/benchmarks/attack.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=grown(2000),
        runtime=30,
    params:
        settings=as_json(**CONFIG["attack"]),
        folder=RESULTS,
    shell:
        "python {input.script} --membership {input.membership} --thresholds {input.thresholds}"
        " --settings {params.settings:q} --output {params.folder} > {log} 2>&1"
