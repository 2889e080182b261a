"""From tidy results to tables, figures and verdicts. No job here imports torch."""

import glob

TABLES = expand(
    f"{RESULTS}/tables/{{table}}.csv",
    table=[
        "main",
        "outliers",
        "attack",
        "utility",
        "gains",
        "solution_space",
        "candidates",
        "original",
        "cost",
        "per_run",
        "attack_suite",
        "trust",
    ],
)
SUITE = f"{RESULTS}/tables/attack_suite.csv"
TRUST = f"{RESULTS}/tables/trust.csv"
TABLES += ULIRA
# every figure, in the order of the report -> the kind of evidence it is
FIGURE_KINDS = {
    "which_method": "Map",
    "solution_space": "Map",
    "sensitivity": "Map",
    "memorization": "Memorization",
    "forgetting_histogram": "Memorization",
    "trajectories": "Memorization",
    "attack_roc": "Privacy",
    "attack_suite": "Privacy",
    **({"ulira": "Privacy"} if ULIRA else {}),
    "trust": "Privacy",
    "pareto_outliers": "Privacy",
    "pareto_attack": "Privacy",
    "utility": "Utility",
    "gains": "Methods",
}
FIGURES = expand(
    f"{RESULTS}/figures/{{figure}}.{{format}}",
    figure=FIGURE_KINDS,
    format=["svg", "png", "pdf"],
)
CLAIMS = [*multiext(f"{RESULTS}/claims", ".json", ".md"), f"{RESULTS}/reach.csv"]
# for files of your own, and wherever nothing is unlearned
AUDIT = multiext(f"{RESULTS}/audit", ".html", ".json") if SOURCE == "own" or not CELLS else []
# tables that the report shows as pages
PAGES = [path for path in TABLES if not path.endswith("per_run.csv")]
# the files that the command line names, for the commands in the report
CONFIG_FILES = [os.path.relpath(path) for path in workflow.config_settings.configfiles]


rule analyse_attacks:
    input:
        code=code("analyse_attacks.py", attacks.modules(CONFIG["attacks"])),
        membership=f"{RESULTS}/membership.parquet",
        values=f"{RESULTS}/attack_values.parquet",
        thresholds=f"{RESULTS}/thresholds.csv",
    output:
        runs=f"{RESULTS}/attack_runs.parquet",
        scores=f"{RESULTS}/attack_score_values.parquet",
        effects=f"{RESULTS}/attack_effects.parquet",
        exposed=f"{RESULTS}/attack_exposed.csv",
        table=SUITE,
        trust=TRUST,
    log:
        f"{LOGS}/analyse_attacks.log",
    benchmark:
        f"{LOGS}/benchmarks/analyse_attacks.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=grown(2000),
        runtime=grown(30),
    params:
        script=script("analyse_attacks.py"),
        settings=lambda wildcards: as_json(
            attacks=CONFIG["attacks"],
            analysis=CONFIG["attack_analysis"],
            tables=CONFIG["tables"] | {"models": MODELS},
        ),
        folder=folder_of,
    shell:
        "python {params.script} --membership {input.membership} --values {input.values}"
        " --thresholds {input.thresholds} --settings {params.settings:q}"
        " --output {params.folder} > {log} 2>&1"


rule make_tables:
    input:
        code=code("make_tables.py"),
        sequences=f"{RESULTS}/sequences.parquet",
        memorization=f"{RESULTS}/memorization.parquet",
        membership=f"{RESULTS}/membership.parquet",
        attack_runs=f"{RESULTS}/attack_runs.parquet",
        attack_effects=f"{RESULTS}/attack_effects.parquet",
        utility=f"{RESULTS}/utility.parquet",
        runs=f"{RESULTS}/runs.parquet",
        thresholds=f"{RESULTS}/thresholds.csv",
    output:
        [path for path in TABLES if path not in (SUITE, TRUST, *ULIRA)],
        redrawn=f"{RESULTS}/tables/redrawn.parquet",
    log:
        f"{LOGS}/make_tables.log",
    benchmark:
        f"{LOGS}/benchmarks/make_tables.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=grown(2000),
        runtime=grown(30),
    params:
        script=script("make_tables.py"),
        settings=as_json(
            **CONFIG["tables"],
            **CONFIG["solution_space"],
            models=MODELS,
            stops={label: block["stop"] for label, block in CONFIG["unlearners"].items()},
            stop_metrics=CONFIG["unlearning"]["stop_metrics"],
        ),
        folder=folder_of,
    shell:
        "python {params.script} --sequences {input.sequences} --memorization {input.memorization}"
        " --membership {input.membership} --attack-runs {input.attack_runs}"
        " --attack-effects {input.attack_effects} --utility {input.utility} --runs {input.runs}"
        " --thresholds {input.thresholds}"
        " --settings {params.settings:q} --output {params.folder} > {log} 2>&1"


rule judge_claims:
    input:
        code=code("judge_claims.py"),
        per_run=f"{RESULTS}/tables/per_run.csv",
        original=f"{RESULTS}/tables/original.csv",
        gains=f"{RESULTS}/tables/gains.csv",
        solution_space=f"{RESULTS}/tables/solution_space.csv",
        redrawn=f"{RESULTS}/tables/redrawn.parquet",
    output:
        CLAIMS,
    log:
        f"{LOGS}/judge_claims.log",
    benchmark:
        f"{LOGS}/benchmarks/judge_claims.tsv"
    localrule: True
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=grown(1000),
        runtime=grown(10),
    params:
        script=script("judge_claims.py"),
        settings=as_json(**CONFIG["solution_space"], **CONFIG["claims"], models=MODELS),
        folder=folder_of,
    shell:
        "python {params.script} --per-run {input.per_run} --original {input.original}"
        " --gains {input.gains} --solution-space {input.solution_space}"
        " --redrawn {input.redrawn} --settings {params.settings:q} --output {params.folder}"
        " > {log} 2>&1"


rule render_pages:
    input:
        code=code("render_pages.py"),
        tables=PAGES,
        exposed=f"{RESULTS}/attack_exposed.csv",
        claims=f"{RESULTS}/claims.json",
        figures=[path for path in FIGURES if path.endswith(".svg")],
        captions=sorted(glob.glob(os.path.relpath(Path(workflow.basedir, "report", "*.rst")))),
    output:
        report(
            f"{RESULTS}/pages/claims.html",
            caption="../report/claims.rst",
            category="Claims",
            labels={"table": "claims"},
        ),
        [
            report(
                f"{RESULTS}/pages/{Path(path).stem}.html",
                caption=f"../report/table_{Path(path).stem}.rst",
                category="Tables",
                labels={"table": Path(path).stem.replace("_", " ")},
            )
            for path in [*PAGES, "attack_exposed.csv"]
        ],
        index=f"{RESULTS}/index.html",
    log:
        f"{LOGS}/render_pages.log",
    benchmark:
        f"{LOGS}/benchmarks/render_pages.tsv"
    localrule: True
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=grown(1000),
        runtime=grown(5),
    params:
        script=script("render_pages.py"),
        settings=lambda wildcards: as_json(
            kinds=FIGURE_KINDS,
            audited=bool(AUDIT),
            command=" ".join(["snakemake", *(f"--configfile {path}" for path in CONFIG_FILES)]),
        ),
        captions=lambda wildcards, input: os.path.dirname(input.captions[0]),
        pages=folder_of,
    shell:
        "python {params.script} --tables {input.tables} {input.exposed} --claims {input.claims}"
        " --figures {input.figures} --captions {params.captions} --settings {params.settings:q}"
        " --pages {params.pages} --report {output.index} > {log} 2>&1"


rule record_provenance:
    input:
        code=code("record_provenance.py"),
        runs=f"{RESULTS}/runs.parquet",
        claims=f"{RESULTS}/claims.json" if CELLS else [],
        given=f"{RESULTS}/files.json" if SOURCE == "own" else [],
    output:
        f"{RESULTS}/provenance.json",
    log:
        f"{LOGS}/record_provenance.log",
    benchmark:
        f"{LOGS}/benchmarks/record_provenance.tsv"
    localrule: True
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=grown(1000),
        runtime=grown(5),
    params:
        script=script("record_provenance.py"),
        config=lambda wildcards: as_json(**CONFIG),
        benchmarks=f"{LOGS}/benchmarks",
        given=lambda wildcards, input: f"--files {input.given}" if input.given else "",
        models=of_all("models/{model}", model=MODELS),  # made before the runs were
    shell:
        "python {params.script} --runs {input.runs} --benchmarks {params.benchmarks}"
        " --config {params.config:q} {params.given} --models {params.models} --output {output}"
        " > {log} 2>&1"


rule render_audit:
    # of the originals alone where no unlearner is named
    input:
        code=code("render_audit.py", attacks.modules(CONFIG["attacks"])),
        sequences=f"{RESULTS}/sequences.parquet",
        membership=f"{RESULTS}/membership.parquet",
        runs=f"{RESULTS}/runs.parquet",
        effects=f"{RESULTS}/attack_effects.parquet",
        thresholds=f"{RESULTS}/thresholds.csv",
        per_run=f"{RESULTS}/tables/per_run.csv",
        candidates=f"{RESULTS}/tables/candidates.csv",
        provenance=f"{RESULTS}/provenance.json",
        models=expand(f"{RESULTS}/models/{{model}}", model=MODELS),
    output:
        page=f"{RESULTS}/audit.html",
        document=f"{RESULTS}/audit.json",
    log:
        f"{LOGS}/render_audit.log",
    benchmark:
        f"{LOGS}/benchmarks/render_audit.tsv"
    localrule: True
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=grown(1000),
        runtime=grown(10),
    params:
        script=script("render_audit.py"),
        # a function: see `prepare_own`
        settings=lambda wildcards: as_json(
            run=CONFIG["run"],
            rule=CONFIG["solution_space"],
            origins={name: origin_of(model) for name, model in CONFIG["models"].items()},
            controls={
                name: origin_of(model["control"])
                for name, model in CONFIG["models"].items()
                if model["control"]
            },
            attacks=list(CONFIG["attacks"]),
            limit=CONFIG["measurement"]["limit"],
            bos=CONFIG["own"] and CONFIG["own"]["bos"],
            kept=CONFIG["jobs"]["keep_checkpoints"],
        ),
    shell:
        "python {params.script} --sequences {input.sequences} --membership {input.membership}"
        " --runs {input.runs} --effects {input.effects} --thresholds {input.thresholds}"
        " --per-run {input.per_run} --candidates {input.candidates}"
        " --provenance {input.provenance} --models {input.models}"
        " --settings {params.settings:q} --page {output.page} --document {output.document}"
        " > {log} 2>&1"


rule draw_figures:
    input:
        code=code("draw_figures.py", attacks.modules(CONFIG["attacks"])),
        sequences=f"{RESULTS}/sequences.parquet",
        memorization=f"{RESULTS}/memorization.parquet",
        membership=f"{RESULTS}/membership.parquet",
        history=f"{RESULTS}/history.parquet",
        thresholds=f"{RESULTS}/thresholds.csv",
        per_run=f"{RESULTS}/tables/per_run.csv",
        gains=f"{RESULTS}/tables/gains.csv",
        utility=f"{RESULTS}/tables/utility.csv",
        solution_space=f"{RESULTS}/tables/solution_space.csv",
        candidates=f"{RESULTS}/tables/candidates.csv",
        cost=f"{RESULTS}/tables/cost.csv",
        attack_suite=SUITE,
        trust=TRUST,
        ulira=ULIRA[:1],
    output:
        [
            report(
                f"{RESULTS}/figures/{figure}.svg",
                caption=f"../report/{figure}.rst",
                category=kind,
                labels={"figure": figure.replace("_", " ")},
            )
            for figure, kind in FIGURE_KINDS.items()
        ],
        [path for path in FIGURES if not path.endswith(".svg")],
    log:
        f"{LOGS}/draw_figures.log",
    benchmark:
        f"{LOGS}/benchmarks/draw_figures.tsv"
    conda:
        "../envs/analysis.yaml"
    threads: 2
    resources:
        mem_mb=grown(2000),
        runtime=grown(30),
    params:
        script=script("draw_figures.py"),
        settings=as_json(models=MODELS, **CONFIG["figures"], **CONFIG["solution_space"]),
        ulira=lambda wildcards, input: f"--ulira {input.ulira}" if ULIRA else "",
        folder=folder_of,
    shell:
        "python {params.script} --sequences {input.sequences} --memorization {input.memorization}"
        " --membership {input.membership} --history {input.history}"
        " --thresholds {input.thresholds} --per-run {input.per_run} --gains {input.gains}"
        " --utility {input.utility} --solution-space {input.solution_space}"
        " --candidates {input.candidates} --cost {input.cost} --attack-suite {input.attack_suite}"
        " --trust {input.trust} {params.ulira} --settings {params.settings:q} --output {params.folder} --threads {threads}"
        " > {log} 2>&1"
