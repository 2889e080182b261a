"""Unlearn, measure and attack what came out, and collect the tables of all jobs."""


rule unlearn:
    input:
        code=lambda wildcards: UNLEARN_CODE[wildcards.batch],
        # model, sequences and corpus made these, and make them anew: as further inputs of thousands
        # of jobs they would cost planning
        forget_sets=f"{HOME}/forget_sets.parquet",
        thresholds=f"{HOME}/original/{{model}}/thresholds.csv",
        # where no label is tuned, thousands of jobs are spared the question
        tuned=chosen_settings if TUNED else [],
    output:
        checkpoints=CHECKPOINTS(directory(f"{HOME}/unlearned/{{model}}/{{batch}}/checkpoints")),
        history=f"{HOME}/unlearned/{{model}}/{{batch}}/history.parquet",
        runs=f"{HOME}/unlearned/{{model}}/{{batch}}/runs.parquet",
    log:
        f"{LOGS}/unlearn{REPLICATE}/{{model}}/{{batch}}.log",
    benchmark:
        f"{LOGS}/benchmarks/unlearn{REPLICATE}/{{model}}/{{batch}}.tsv"
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
        script=script("unlearn.py"),
        settings=unlearning_settings,
        tuned=tuned_option if TUNED else "",
        home=home_of,
    shell:
        tried(
            spread(
                "{params.script} --model {params.home}/models/{wildcards.model} --name {wildcards.model}"
                " --sequences {params.home}/sequences.parquet --forget-sets {input.forget_sets}"
                " --background {params.home}/corpus/background.npy --thresholds {input.thresholds}"
                " --settings {params.settings:q} {params.tuned}"
                " --work {params.home}/.work/unlearn/{wildcards.model}/{wildcards.batch}"
                " --checkpoints {output.checkpoints} --history {output.history} --runs {output.runs}"
                " --gpus $(({resources.gpu} > 0)) --threads {threads} > {log} 2>&1"
            )
        )


rule measure_unlearned:
    input:
        code=code("measure_unlearned.py", beside=ENGINE),
        checkpoints=f"{HOME}/unlearned/{{model}}/{{batch}}/checkpoints",
    output:
        scores=f"{HOME}/unlearned/{{model}}/{{batch}}/scores.parquet",
        utility=f"{HOME}/unlearned/{{model}}/{{batch}}/utility.parquet",
    log:
        f"{LOGS}/measure_unlearned{REPLICATE}/{{model}}/{{batch}}.log",
    benchmark:
        f"{LOGS}/benchmarks/measure_unlearned{REPLICATE}/{{model}}/{{batch}}.tsv"
    priority: larger_first
    retries: retries(1)
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=memory_of,
        runtime=minutes_of,
    params:
        script=script("measure_unlearned.py"),
        settings=lambda wildcards: as_json(**CONFIG["measurement"], cells=BATCHES[wildcards.batch]),
        home=home_of,
    shell:
        tried(
            "python {params.script} --checkpoints {input.checkpoints} --name {wildcards.model}"
            " --tokenizer {params.home}/models/{wildcards.model}"
            " --sequences {params.home}/sequences.parquet"
            " --forget-sets {params.home}/forget_sets.parquet --tasks {params.home}/corpus/tasks"
            " --settings {params.settings:q}"
            " --work {params.home}/.work/measure_unlearned/{wildcards.model}/{wildcards.batch}"
            " --scores {output.scores} --utility {output.utility}"
            " --gpus {resources.gpu} --threads {threads} > {log} 2>&1"
        )


rule attack_unlearned:
    input:
        code=code("attack_unlearned.py", attacks.modules(MODEL_ATTACKS)),
        checkpoints=f"{HOME}/unlearned/{{model}}/{{batch}}/checkpoints",
    output:
        f"{HOME}/unlearned/{{model}}/{{batch}}/attack_values.parquet",
    log:
        f"{LOGS}/attack_unlearned{REPLICATE}/{{model}}/{{batch}}.log",
    benchmark:
        f"{LOGS}/benchmarks/attack_unlearned{REPLICATE}/{{model}}/{{batch}}.tsv"
    priority: larger_first
    retries: retries(1)
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=memory_of,
        runtime=minutes_of,
    params:
        script=script("attack_unlearned.py"),
        settings=lambda wildcards: as_json(
            **target_settings(wildcards), cells=BATCHES[wildcards.batch]
        ),
        home=home_of,
        control=control_option,
    shell:
        tried(
            "python {params.script} --checkpoints {input.checkpoints} --name {wildcards.model}"
            " --tokenizer {params.home}/models/{wildcards.model}"
            " --sequences {params.home}/sequences.parquet"
            " --forget-sets {params.home}/forget_sets.parquet"
            " --background {params.home}/corpus/background.npy {params.control}"
            " --settings {params.settings:q}"
            " --work {params.home}/.work/attack_unlearned/{wildcards.model}/{wildcards.batch}"
            " --output {output} --gpus {resources.gpu} --threads {threads} > {log} 2>&1"
        )


rule collect:
    input:
        code=code("collect.py"),
        sequences=of_all("sequences.parquet"),
        forget_sets=of_all("forget_sets.parquet"),
        # one table stands for all of its job and of the jobs before it: thousands of jobs are then
        # planned in less time and memory
        original=of_all("original/{model}/scores.parquet", model=MODELS),
        # (named by functions: of a list, rule and job would hold a copy each)
        scores=lambda wildcards: of_all("unlearned/{job}/scores.parquet", job=UNLEARNED),
        values=lambda wildcards: (
            of_all("original/{model}/attack_values.parquet", model=MODELS)
            + of_all("unlearned/{job}/attack_values.parquet", job=UNLEARNED)
            if MODEL_ATTACKS
            else []
        ),
    output:
        # of one replicate this table is there already
        **({"sequences": f"{RESULTS}/sequences.parquet"} if REPLICATE else {}),
        memorization=f"{RESULTS}/memorization.parquet",
        membership=f"{RESULTS}/membership.parquet",
        utility=f"{RESULTS}/utility.parquet",
        history=f"{RESULTS}/history.parquet",
        runs=f"{RESULTS}/runs.parquet",
        thresholds=f"{RESULTS}/thresholds.csv",
        values=f"{RESULTS}/attack_values.parquet",
    log:
        f"{LOGS}/collect.log",
    benchmark:
        f"{LOGS}/benchmarks/collect.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=grown(2000),
        runtime=grown(10),
    params:
        script=script("collect.py"),
        models=MODELS,
        batches=list(BATCHES),
        attacked="--attacked" if MODEL_ATTACKS else "",
        replicates=f"--replicates {' '.join(map(str, REPLICATES))}" if REPLICATE else "",
        folder=folder_of,
    shell:
        "python {params.script} --results {params.folder} {params.replicates}"
        " --models {params.models} --batches {params.batches} {params.attacked} > {log} 2>&1"


rule keep_models:
    # only where the config asks for it; float32 weights are linked, not copied
    input:
        code=code("keep_models.py"),
        checkpoints=f"{HOME}/unlearned/{{model}}/{{batch}}/checkpoints",
        tokenizer=f"{HOME}/models/{{model}}",
        sequences=f"{HOME}/sequences.parquet",
        forget_sets=f"{HOME}/forget_sets.parquet",
        runs=f"{HOME}/unlearned/{{model}}/{{batch}}/runs.parquet",
        memorization=f"{RESULTS}/memorization.parquet",
        per_run=f"{RESULTS}/tables/per_run.csv",
        exposed=f"{RESULTS}/attack_exposed.csv",
        given=f"{RESULTS}/files.json" if SOURCE == "own" else [],
        tuned=chosen_settings if TUNED else [],
    output:
        directory(f"{HOME}/kept/{{model}}/{{batch}}"),
    log:
        f"{LOGS}/keep_models{REPLICATE}/{{model}}/{{batch}}.log",
    benchmark:
        f"{LOGS}/benchmarks/keep_models{REPLICATE}/{{model}}/{{batch}}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=memory_of,
        runtime=minutes_of,
    params:
        script=script("keep_models.py"),
        replicate=lambda wildcards: f"--replicate {number_of(wildcards)}" if REPLICATE else "",
        settings=lambda wildcards: as_json(
            unlearners=CONFIG["unlearners"],
            origin=origin_of(CONFIG["models"][wildcards.model]),
            hub=CONFIG["models"][wildcards.model]["hub"],
            rule=CONFIG["solution_space"],
            limit=CONFIG["measurement"]["limit"],
            lora=(CONFIG["unlearning"] | CONFIG["models"][wildcards.model]["unlearning"])["lora"],
            precision=CONFIG["jobs"]["kept_precision"],
        ),
        given=lambda wildcards, input: f"--files {input.given}" if input.given else "",
        tuned=tuned_option if TUNED else "",
    shell:
        "python {params.script} --checkpoints {input.checkpoints} --tokenizer {input.tokenizer}"
        " --sequences {input.sequences} --forget-sets {input.forget_sets}"
        " --runs {input.runs} --memorization {input.memorization}"
        " --per-run {input.per_run} --exposed {input.exposed} {params.given} {params.replicate} {params.tuned}"
        " --settings {params.settings:q} --output {output} --threads {threads} > {log} 2>&1"
