"""Tuning: every method's settings chosen by one rule, on forget sets that are never reported."""

TUNE_CODE = {label: code("tune_unlearner.py", methods_of([label])) for label in GRIDS}


rule tune_unlearner:
    input:
        code=lambda wildcards: TUNE_CODE[wildcards.unlearner],
        model=f"{TUNING_HOME}/models/{{model}}",
        sequences=f"{TUNING_HOME}/sequences.parquet",
        corpus=f"{TUNING_HOME}/corpus",
        thresholds=f"{TUNING_HOME}/original/{{model}}/thresholds.csv",
    output:
        f"{RESULTS}/tuning/{{model}}/{{unlearner}}.parquet",
    log:
        f"{LOGS}/tune_unlearner/{{model}}/{{unlearner}}.log",
    benchmark:
        f"{LOGS}/benchmarks/tune_unlearner/{{model}}/{{unlearner}}.tsv"
    wildcard_constraints:
        unlearner=one_of(GRIDS),
    priority: larger_first
    retries: retries(1)
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=lambda wildcards: CONFIG["models"][wildcards.model]["gpus"],
        mem_mb=memory_of,
        runtime=minutes_of,
    params:
        script=script("tune_unlearner.py"),
        settings=tuning_settings,
        work=f"{RESULTS}/.work/tune_unlearner/{{model}}/{{unlearner}}",
    shell:
        tried(
            spread(
                "{params.script} --model {input.model} --name {wildcards.model}"
                " --sequences {input.sequences} --background {input.corpus}/background.npy"
                " --thresholds {input.thresholds} --settings {params.settings:q}"
                " --work {params.work} --output {output}"
                " --gpus $(({resources.gpu} > 0)) --threads {threads} > {log} 2>&1"
            )
        )


rule choose_settings:
    # a file for each label: another choice for one reruns its own jobs alone
    input:
        code=code("choose_settings.py"),
        runs=expand(
            f"{RESULTS}/tuning/{{model}}/{{unlearner}}.parquet", model=TUNED_ON, unlearner=GRIDS
        ),
    output:
        [chosen_of(label) for label in GRIDS],
        table=TUNING_TABLE,
        lines=f"{RESULTS}/tuning/chosen/unlearners.yaml",
    log:
        f"{LOGS}/choose_settings.log",
    benchmark:
        f"{LOGS}/benchmarks/choose_settings.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=grown(2000),
        runtime=grown(10),
    params:
        script=script("choose_settings.py"),
        settings=as_json(
            tuning=CONFIG["tuning"],
            unlearners={label: CONFIG["unlearners"][label] for label in GRIDS},
        ),
        chosen=lambda wildcards, output: os.path.dirname(output.lines),
    shell:
        "python {params.script} --runs {input.runs} --settings {params.settings:q}"
        " --table {output.table} --chosen {params.chosen} > {log} 2>&1"
