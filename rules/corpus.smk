"""Sequences: the generated corpus and the forget sets drawn from its planted pool."""


rule make_corpus:
    input:
        code=code("make_corpus.py"),
    output:
        sequences=f"{HOME}/sequences.parquet",
        corpus=directory(f"{HOME}/corpus"),
    log:
        f"{LOGS}/make_corpus{REPLICATE}.log",
    benchmark:
        f"{LOGS}/benchmarks/make_corpus{REPLICATE}.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=grown(2000),
        runtime=grown(10),
    params:
        script=script("make_corpus.py"),
        settings=lambda wildcards: as_json(**replicate_config(number_of(wildcards))["corpus"]),
    shell:
        "python {params.script} --settings {params.settings:q}"
        " --sequences {output.sequences} --corpus {output.corpus}"
        " --threads {threads} > {log} 2>&1"


rule draw_forget_sets:
    input:
        code=code("draw_forget_sets.py"),
        sequences=f"{HOME}/sequences.parquet",
    output:
        f"{HOME}/forget_sets.parquet",
    log:
        f"{LOGS}/draw_forget_sets{REPLICATE}.log",
    benchmark:
        f"{LOGS}/benchmarks/draw_forget_sets{REPLICATE}.tsv"
    localrule: True
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=grown(1000),
        runtime=grown(5),
    params:
        script=script("draw_forget_sets.py"),
        settings=as_json(**CONFIG["forget_sets"]),
    shell:
        "python {params.script} --sequences {input.sequences}"
        " --settings {params.settings:q} --output {output} > {log} 2>&1"
