"""Sequences: the extraction challenge's rows, the published forget sets, the published suite."""


rule prepare_challenge:
    input:
        code=code("prepare_challenge.py"),
        published_sets="config/published_forget_sets.csv",
    output:
        sequences=f"{RESULTS}/sequences.parquet",
        forget_sets=f"{RESULTS}/forget_sets.parquet",
        corpus=directory(f"{RESULTS}/corpus"),
    log:
        f"{LOGS}/prepare_challenge.log",
    benchmark:
        f"{LOGS}/benchmarks/prepare_challenge.tsv"
    retries: retries(2)
    # compute nodes may have no network
    localrule: True
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=grown(4000),
        runtime=grown(60),
    params:
        script=script("prepare_challenge.py"),
        settings=as_json(
            **CONFIG["challenge"],
            **CONFIG["forget_sets"],
            tasks=list(CONFIG["measurement"]["tasks"]),
            limit=CONFIG["measurement"]["limit"],
        ),
    shell:
        "python {params.script} --settings {params.settings:q}"
        " --published-sets {input.published_sets} --sequences {output.sequences}"
        " --forget-sets {output.forget_sets} --corpus {output.corpus}"
        " --threads {threads} > {log} 2>&1"
