"""Unlearn, measure and attack what came out, and collect the tables of all jobs."""


rule unlearn:
    input:
        code=lambda wildcards: code("unlearn.py", methods_of(wildcards)),
        model=f"{RESULTS}/models/{{model}}",
        sequences=f"{RESULTS}/sequences.parquet",
        corpus=f"{RESULTS}/corpus",
        forget_sets=f"{RESULTS}/forget_sets.parquet",
        thresholds=f"{RESULTS}/original/{{model}}/thresholds.csv",
    output:
        checkpoints=CHECKPOINTS(directory(f"{RESULTS}/unlearned/{{model}}/{{batch}}/checkpoints")),
        history=f"{RESULTS}/unlearned/{{model}}/{{batch}}/history.parquet",
        runs=f"{RESULTS}/unlearned/{{model}}/{{batch}}/runs.parquet",
    log:
        f"{LOGS}/unlearn/{{model}}/{{batch}}.log",
    benchmark:
        f"{LOGS}/benchmarks/unlearn/{{model}}/{{batch}}.tsv"
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
        launcher=launcher,
        gpus=lambda wildcards, resources: min(1, resources.gpu),  # of each process
        settings=unlearning_settings,
        work=f"{RESULTS}/.work/unlearn/{{model}}/{{batch}}",
    shell:
        "{params.launcher} {params.script} --model {input.model} --name {wildcards.model}"
        " --sequences {input.sequences} --forget-sets {input.forget_sets}"
        " --background {input.corpus}/background.npy --thresholds {input.thresholds}"
        " --settings {params.settings:q} --work {params.work}"
        " --checkpoints {output.checkpoints} --history {output.history} --runs {output.runs}"
        " --gpus {params.gpus} --threads {threads} > {log} 2>&1"


rule measure_unlearned:
    input:
        code=code("measure_unlearned.py", beside=ENGINE),
        checkpoints=f"{RESULTS}/unlearned/{{model}}/{{batch}}/checkpoints",
        sequences=f"{RESULTS}/sequences.parquet",
        corpus=f"{RESULTS}/corpus",
        forget_sets=f"{RESULTS}/forget_sets.parquet",
    output:
        scores=f"{RESULTS}/unlearned/{{model}}/{{batch}}/scores.parquet",
        utility=f"{RESULTS}/unlearned/{{model}}/{{batch}}/utility.parquet",
    log:
        f"{LOGS}/measure_unlearned/{{model}}/{{batch}}.log",
    benchmark:
        f"{LOGS}/benchmarks/measure_unlearned/{{model}}/{{batch}}.tsv"
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
        # made before the checkpoints were: a further input of thousands of jobs would cost planning
        tokenizer=f"{RESULTS}/models/{{model}}",
        work=f"{RESULTS}/.work/measure_unlearned/{{model}}/{{batch}}",
    shell:
        "python {params.script} --checkpoints {input.checkpoints} --name {wildcards.model}"
        " --tokenizer {params.tokenizer} --sequences {input.sequences}"
        " --forget-sets {input.forget_sets} --tasks {input.corpus}/tasks"
        " --settings {params.settings:q} --work {params.work}"
        " --scores {output.scores} --utility {output.utility}"
        " --gpus {resources.gpu} --threads {threads} > {log} 2>&1"


rule attack_unlearned:
    input:
        code=code("attack_unlearned.py", attacks.modules(MODEL_ATTACKS)),
        checkpoints=f"{RESULTS}/unlearned/{{model}}/{{batch}}/checkpoints",
        sequences=f"{RESULTS}/sequences.parquet",
        forget_sets=f"{RESULTS}/forget_sets.parquet",
    output:
        f"{RESULTS}/unlearned/{{model}}/{{batch}}/attack_values.parquet",
    log:
        f"{LOGS}/attack_unlearned/{{model}}/{{batch}}.log",
    benchmark:
        f"{LOGS}/benchmarks/attack_unlearned/{{model}}/{{batch}}.tsv"
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
        # made before the checkpoints were: a further input of thousands of jobs would cost planning
        tokenizer=f"{RESULTS}/models/{{model}}",
        control=control_option,
        background=f"{RESULTS}/corpus/background.npy",
        work=f"{RESULTS}/.work/attack_unlearned/{{model}}/{{batch}}",
    shell:
        "python {params.script} --checkpoints {input.checkpoints} --name {wildcards.model}"
        " --tokenizer {params.tokenizer} --sequences {input.sequences}"
        " --forget-sets {input.forget_sets} --background {params.background} {params.control}"
        " --settings {params.settings:q} --work {params.work}"
        " --output {output} --gpus {resources.gpu} --threads {threads} > {log} 2>&1"


rule collect:
    input:
        code=code("collect.py"),
        sequences=f"{RESULTS}/sequences.parquet",
        forget_sets=f"{RESULTS}/forget_sets.parquet",
        # one table stands for all of its job and of the jobs before it: thousands of jobs are then
        # planned in less time and memory
        original=expand(f"{RESULTS}/original/{{model}}/scores.parquet", model=MODELS),
        scores=expand(f"{RESULTS}/unlearned/{{job}}/scores.parquet", job=UNLEARNED),
        values=(
            expand(f"{RESULTS}/original/{{model}}/attack_values.parquet", model=MODELS)
            + expand(f"{RESULTS}/unlearned/{{job}}/attack_values.parquet", job=UNLEARNED)
            if MODEL_ATTACKS
            else []
        ),
    output:
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
        folder=folder_of,
    shell:
        "python {params.script} --sequences {input.sequences}"
        " --forget-sets {input.forget_sets} --original {params.folder}/original"
        " --unlearned {params.folder}/unlearned --models {params.models} --batches {params.batches}"
        " {params.attacked} --output {params.folder} > {log} 2>&1"


rule keep_models:
    # only where the config asks for it; float32 weights are linked, not copied
    input:
        code=code("keep_models.py"),
        checkpoints=f"{RESULTS}/unlearned/{{model}}/{{batch}}/checkpoints",
        tokenizer=f"{RESULTS}/models/{{model}}",
        sequences=f"{RESULTS}/sequences.parquet",
        forget_sets=f"{RESULTS}/forget_sets.parquet",
        runs=f"{RESULTS}/unlearned/{{model}}/{{batch}}/runs.parquet",
        memorization=f"{RESULTS}/memorization.parquet",
        per_run=f"{RESULTS}/tables/per_run.csv",
        exposed=f"{RESULTS}/attack_exposed.csv",
        given=f"{RESULTS}/files.json" if SOURCE == "own" else [],
    output:
        directory(f"{RESULTS}/kept/{{model}}/{{batch}}"),
    log:
        f"{LOGS}/keep_models/{{model}}/{{batch}}.log",
    benchmark:
        f"{LOGS}/benchmarks/keep_models/{{model}}/{{batch}}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=memory_of,
        runtime=minutes_of,
    params:
        script=script("keep_models.py"),
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
    shell:
        "python {params.script} --checkpoints {input.checkpoints} --tokenizer {input.tokenizer}"
        " --sequences {input.sequences} --forget-sets {input.forget_sets}"
        " --runs {input.runs} --memorization {input.memorization}"
        " --per-run {input.per_run} --exposed {input.exposed} {params.given}"
        " --settings {params.settings:q} --output {output} --threads {threads} > {log} 2>&1"
