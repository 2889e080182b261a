"""Original models, their controls, what the originals have memorized and what attacks find."""

from importlib import metadata

# `--cache pretrain` shares trained models between workflows
CACHING = workflow.workflow_settings.cache is not None
# asked for only then: every start of Snakemake reads this file
PACKAGES = sorted({f"{p.name}=={p.version}" for p in metadata.distributions()} if CACHING else [])


rule fetch_model:
    # a model of the hub, of a folder or a file; role "controls": one that never saw the sequences
    input:
        code=code("fetch_model.py"),
    output:
        directory(f"{HOME}/{{role}}/{{model}}"),
    log:
        f"{LOGS}/fetch_model{REPLICATE}/{{role}}/{{model}}.log",
    benchmark:
        f"{LOGS}/benchmarks/fetch_model{REPLICATE}/{{role}}/{{model}}.tsv"
    wildcard_constraints:
        role="models|controls",
        model=one_of(FETCHED),
    # no retries: the script itself tries a download again, and a wrong folder stays wrong
    # compute nodes may have no network
    localrule: True
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=grown(2000),
        runtime=grown(120),
    params:
        script=script("fetch_model.py"),
        settings=lambda wildcards: as_json(**place_of(wildcards)),
        # the user's files are no inputs, whose age would count: other contents are another model
        contents=lambda wildcards: contents_of(place_of(wildcards)),
    shell:
        "python {params.script} --settings {params.settings:q} --output {output} > {log} 2>&1"


rule pretrain:
    # role "models": trained on everything; "controls": without the planted sequences
    input:
        code=code("pretrain.py"),
        sequences=f"{HOME}/sequences.parquet",
        corpus=f"{HOME}/corpus",
    output:
        directory(f"{HOME}/{{role}}/{{model}}"),
    log:
        f"{LOGS}/pretrain{REPLICATE}/{{role}}/{{model}}.log",
    benchmark:
        f"{LOGS}/benchmarks/pretrain{REPLICATE}/{{role}}/{{model}}.tsv"
    wildcard_constraints:
        role="models|controls",
        model=one_of(TRAINED),
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
        script=script("pretrain.py"),
        settings=lambda wildcards: as_json(**CONFIG["models"][wildcards.model]["pretraining"]),
        part=lambda wildcards: "--without-planted" if wildcards.role == "controls" else "",
        seed=lambda wildcards: replicate_config(number_of(wildcards))["seed"],
        # the cache's key needs these; because they ask for `resources` they are no rerun triggers
        device=lambda wildcards, resources: "GPU" if resources.gpu else "CPU",
        packages=lambda wildcards, resources: PACKAGES,
    shell:
        tried(
            "python {params.script} --settings {params.settings:q} --sequences {input.sequences}"
            " --corpus {input.corpus} {params.part} --seed {params.seed} --work {output}.work"
            " --output {output} --gpus {resources.gpu} --threads {threads} > {log} 2>&1"
        )


# Snakemake refuses to cache what it benchmarks
if CACHING:
    workflow.get_rule("pretrain")._benchmark = None


rule measure_original:
    input:
        code=code("measure_original.py", beside=ENGINE),
        original=f"{HOME}/models/{{model}}",
        control=control_of,
        sequences=f"{HOME}/sequences.parquet",
        corpus=f"{HOME}/corpus",
    output:
        scores=f"{HOME}/original/{{model}}/scores.parquet",
        utility=f"{HOME}/original/{{model}}/utility.parquet",
        thresholds=f"{HOME}/original/{{model}}/thresholds.csv",
    log:
        f"{LOGS}/measure_original{REPLICATE}/{{model}}.log",
    benchmark:
        f"{LOGS}/benchmarks/measure_original{REPLICATE}/{{model}}.tsv"
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
        script=script("measure_original.py"),
        control=control_option,
        settings=as_json(
            **CONFIG["measurement"], band_quantiles=CONFIG["forgetting"]["band_quantiles"]
        ),
        work=f"{HOME}/.work/measure_original/{{model}}",
    shell:
        tried(
            "python {params.script} --original {input.original} {params.control}"
            " --name {wildcards.model} --sequences {input.sequences} --tasks {input.corpus}/tasks"
            " --settings {params.settings:q} --work {params.work} --scores {output.scores}"
            " --utility {output.utility} --thresholds {output.thresholds} --gpus {resources.gpu} --threads {threads}"
            " > {log} 2>&1"
        )


rule attack_original:
    input:
        code=code("attack_original.py", attacks.modules(MODEL_ATTACKS)),
        original=f"{HOME}/models/{{model}}",
        control=control_of,
        sequences=f"{HOME}/sequences.parquet",
        forget_sets=f"{HOME}/forget_sets.parquet",
        corpus=f"{HOME}/corpus",
    output:
        f"{HOME}/original/{{model}}/attack_values.parquet",
    log:
        f"{LOGS}/attack_original{REPLICATE}/{{model}}.log",
    benchmark:
        f"{LOGS}/benchmarks/attack_original{REPLICATE}/{{model}}.tsv"
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
        script=script("attack_original.py"),
        control=control_option,
        settings=lambda wildcards: as_json(**target_settings(wildcards)),
        work=f"{HOME}/.work/attack_original/{{model}}",
    shell:
        tried(
            "python {params.script} --original {input.original} {params.control}"
            " --name {wildcards.model} --tokenizer {input.original} --sequences {input.sequences}"
            " --forget-sets {input.forget_sets} --background {input.corpus}/background.npy"
            " --settings {params.settings:q} --work {params.work}"
            " --output {output} --gpus {resources.gpu} --threads {threads} > {log} 2>&1"
        )
