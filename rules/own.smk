"""Sequences: your own files, for models that know the sequences already."""

from unlearning.settings.own import OwnSettings


rule prepare_own:
    # the models' own tokenizer makes tokens of the texts
    input:
        code=code("prepare_own.py"),
        models=expand(f"{RESULTS}/models/{{model}}", model=MODELS)
        + expand(f"{RESULTS}/controls/{{model}}", model=GIVEN_CONTROL),
    output:
        sequences=f"{RESULTS}/sequences.parquet",
        forget_sets=f"{RESULTS}/forget_sets.parquet",
        corpus=directory(f"{RESULTS}/corpus"),
        files=f"{RESULTS}/files.json",
    log:
        f"{LOGS}/prepare_own.log",
    benchmark:
        f"{LOGS}/benchmarks/prepare_own.tsv"
    # compute nodes may have no network, where published tasks come from
    localrule: True
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=grown(4000),
        runtime=grown(60),
    params:
        script=script("prepare_own.py"),
        # a function, as of a plain text the engine would take braces in names for wildcards
        settings=lambda wildcards: as_json(
            **CONFIG["own"],
            **CONFIG["forget_sets"],
            kinds=CONFIG["measurement"]["tasks"],
            limit=CONFIG["measurement"]["limit"],
        ),
        # the user's files are no inputs, for the same reason, and as their age would count
        contents=lambda wildcards: contents_of_files(OwnSettings(**CONFIG["own"]).files().values()),
    shell:
        "python {params.script} --settings {params.settings:q} --models {input.models}"
        " --sequences {output.sequences} --forget-sets {output.forget_sets}"
        " --corpus {output.corpus} --files {output.files} --threads {threads} > {log} 2>&1"
