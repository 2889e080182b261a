"""Shadows: models trained anew on halves of the pool, each unlearned, for an attacker a sequence."""


rule draw_shadows:
    input:
        code=code("draw_shadows.py"),
        sequences=f"{HOME}/sequences.parquet",
    output:
        f"{HOME}/shadows/design.parquet",
    log:
        f"{LOGS}/draw_shadows{REPLICATE}.log",
    benchmark:
        f"{LOGS}/benchmarks/draw_shadows{REPLICATE}.tsv"
    localrule: True
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=grown(1000),
        runtime=grown(5),
    params:
        script=script("draw_shadows.py"),
        settings=as_json(**CONFIG["shadows"]),
        seed=lambda wildcards: replicate_config(number_of(wildcards))["seed"],
    shell:
        "python {params.script} --sequences {input.sequences} --settings {params.settings:q}"
        " --seed {params.seed} --output {output} > {log} 2>&1"


use rule pretrain as train_shadow with:
    # the model itself is a by-product: its scores are what is kept
    input:
        code=code("pretrain.py"),
        sequences=f"{HOME}/sequences.parquet",
        corpus=f"{HOME}/corpus",
        design=f"{HOME}/shadows/design.parquet",
    output:
        temp(directory(f"{HOME}/shadows/{{model}}/{{shadow}}/model")),
    log:
        f"{LOGS}/train_shadow{REPLICATE}/{{model}}/{{shadow}}.log",
    benchmark:
        f"{LOGS}/benchmarks/train_shadow{REPLICATE}/{{model}}/{{shadow}}.tsv"
    wildcard_constraints:
        model=one_of(TRAINED),
    params:
        script=script("pretrain.py"),
        settings=lambda wildcards: as_json(**CONFIG["models"][wildcards.model]["pretraining"]),
        part=lambda wildcards, input: f"--design {input.design} --shadow {wildcards.shadow}",
        # weights and order of its own, as an attacker does not know the attacked model's
        seed=lambda wildcards: (
            replicate_config(number_of(wildcards))["seed"] + 1 + int(wildcards.shadow)
        ),
        device=lambda wildcards, resources: "GPU" if resources.gpu else "CPU",
        packages=lambda wildcards, resources: PACKAGES,


rule unlearn_shadow:
    input:
        code=code("unlearn_shadow.py", methods_of(CONFIG["unlearners"])),
        model=f"{HOME}/shadows/{{model}}/{{shadow}}/model",
        sequences=f"{HOME}/sequences.parquet",
        design=f"{HOME}/shadows/design.parquet",
        corpus=f"{HOME}/corpus",
        tuned=[chosen_of(label) for label in TUNED],
    output:
        scores=f"{HOME}/shadows/{{model}}/{{shadow}}/scores.parquet",
        runs=f"{HOME}/shadows/{{model}}/{{shadow}}/runs.parquet",
    log:
        f"{LOGS}/unlearn_shadow{REPLICATE}/{{model}}/{{shadow}}.log",
    benchmark:
        f"{LOGS}/benchmarks/unlearn_shadow{REPLICATE}/{{model}}/{{shadow}}.tsv"
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
        script=script("unlearn_shadow.py"),
        settings=lambda wildcards: as_json(
            unlearners=dict(sorted(CONFIG["unlearners"].items())),
            unlearning=CONFIG["unlearning"] | CONFIG["models"][wildcards.model]["unlearning"],
            measurement=CONFIG["measurement"],
            band_quantiles=CONFIG["forgetting"]["band_quantiles"],
        ),
        tuned=f"--tuned {' '.join(map(chosen_of, TUNED))}" if TUNED else "",
        work=f"{HOME}/.work/unlearn_shadow/{{model}}/{{shadow}}",
    shell:
        tried(
            "python {params.script} --model {input.model} --name {wildcards.model}"
            " --sequences {input.sequences} --design {input.design} --shadow {wildcards.shadow}"
            " --background {input.corpus}/background.npy --settings {params.settings:q}"
            " {params.tuned} --work {params.work} --scores {output.scores} --runs {output.runs}"
            " --gpus {resources.gpu} --threads {threads} > {log} 2>&1"
        )


rule analyse_shadows:
    input:
        code=code("analyse_shadows.py"),
        design=of_all("shadows/design.parquet"),
        scores=of_all("shadows/{job}/scores.parquet", job=SHADOWS),
    output:
        runs=f"{RESULTS}/shadow_runs.parquet",
        effects=f"{RESULTS}/shadow_effects.parquet",
        tables=ULIRA,
    log:
        f"{LOGS}/analyse_shadows.log",
    benchmark:
        f"{LOGS}/benchmarks/analyse_shadows.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=grown(2000),
        runtime=grown(30),
    params:
        script=script("analyse_shadows.py"),
        settings=as_json(
            models=CONFIG["shadows"]["models"],
            count=CONFIG["shadows"]["count"],
            analysis=CONFIG["attack_analysis"],
            tables=CONFIG["tables"] | {"models": MODELS},
        ),
        replicates=f"--replicates {' '.join(map(str, REPLICATES))}" if REPLICATE else "",
        folder=folder_of,
    shell:
        "python {params.script} --results {params.folder} {params.replicates}"
        " --settings {params.settings:q} > {log} 2>&1"
