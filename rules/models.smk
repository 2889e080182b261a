"""Original models, their controls, and what the originals have memorized."""


rule pretrain:
    # role "models": trained on everything; "controls": without the planted sequences
    input:
        script=script("pretrain.py"),
        code=code("pretrain.py"),
        sequences=f"{RESULTS}/sequences.parquet",
        corpus=f"{RESULTS}/corpus",
    output:
        directory(f"{RESULTS}/{{role}}/{{model}}"),
    log:
        f"{LOGS}/pretrain/{{role}}/{{model}}.log",
    benchmark:
        f"{LOGS}/benchmarks/pretrain/{{role}}/{{model}}.tsv"
    wildcard_constraints:
        role="models|controls",
    priority: larger_first
    retries: 1
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=grown(2000),
        runtime=grown(60),
    params:
        settings=lambda wildcards: as_json(**CONFIG["models"][wildcards.model]["pretraining"]),
        without=lambda wildcards: "--without-planted" if wildcards.role == "controls" else "",
        seed=CONFIG["seed"],
        work=f"{RESULTS}/.work/{{role}}/{{model}}",
    shell:
        "python {input.script} --settings {params.settings:q} --sequences {input.sequences}"
        " --corpus {input.corpus} {params.without} --seed {params.seed} --work {params.work}"
        " --output {output} --gpus {resources.gpu} --threads {threads} > {log} 2>&1"


rule score_original:
    input:
        script=script("score_original.py"),
        code=code("score_original.py", beside=ENGINE),
        original=f"{RESULTS}/models/{{model}}",
        control=f"{RESULTS}/controls/{{model}}",
        sequences=f"{RESULTS}/sequences.parquet",
        corpus=f"{RESULTS}/corpus",
    output:
        scores=f"{RESULTS}/original/{{model}}/scores.parquet",
        utility=f"{RESULTS}/original/{{model}}/utility.parquet",
        thresholds=f"{RESULTS}/original/{{model}}/thresholds.csv",
    log:
        f"{LOGS}/score_original/{{model}}.log",
    benchmark:
        f"{LOGS}/benchmarks/score_original/{{model}}.tsv"
    priority: larger_first
    retries: 1
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=grown(2000),
        runtime=grown(60),
    params:
        settings=as_json(
            **CONFIG["measurement"], band_quantiles=CONFIG["forgetting"]["band_quantiles"]
        ),
    shell:
        "python {input.script} --original {input.original} --control {input.control}"
        " --name {wildcards.model} --sequences {input.sequences} --tasks {input.corpus}/tasks"
        " --settings {params.settings:q} --scores {output.scores} --utility {output.utility}"
        " --thresholds {output.thresholds} --gpus {resources.gpu} --threads {threads}"
        " > {log} 2>&1"
