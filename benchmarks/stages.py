"""Where a run's time goes: CPU seconds by stage, now and with the published loop for EL.

    python benchmarks/stages.py    # after `make demo`

The stages come from Snakemake's benchmark files of a finished run: user and system seconds of a job
when Snakemake last looked at it, and as many a second for the time after that, up to half a minute.
What scoring takes of them is measured here, on each original model: the teacher-forced pass, the
extraction likelihood, the NLP suite; and, on a sample of the prefix lengths, the extraction
likelihood by the published loop. Times the number of sequences that the stages scored, that is the
part of the extraction likelihood, and what it would be with that loop. (Unlearned models know less,
so that theirs takes a little longer either way.)
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from scoring import Case, best_batch, published_el

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from unlearning.data.sequences import read_sequences
from unlearning.evaluation import evaluate
from unlearning.evaluation.measurement import suite_of
from unlearning.memorization.rows import tokens_of
from unlearning.memorization.scoring import extraction_likelihood, score_tokens
from unlearning.models.loading import load_model, load_tokenizer
from unlearning.settings.measurement import MeasurementSettings

OURS, PUBLISHED = "extraction likelihood", "extraction likelihood, published loop"


def last_look(seconds: float) -> float:
    """When Snakemake last looked at a job that took so long: half a minute may have gone by since.

    It looks every half second 31 times, then every 30 seconds.
    """
    if seconds < 15.5:
        return max(0.5, seconds // 0.5 * 0.5)
    return 15.5 + (seconds - 15.5) // 30 * 30


def stages(folder: Path) -> pd.DataFrame:
    """Jobs and CPU seconds by rule, from the benchmark files below `folder`; longest first."""
    rows = []
    for path in sorted(folder.rglob("*.tsv")):
        taken = pd.read_csv(path, sep="\t")
        seen = taken["s"].map(last_look)
        stage = path.relative_to(folder).parts[0].removesuffix(".tsv")
        rows.append({"stage": stage, "cpu_s": (taken["cpu_time"] * taken["s"] / seen).sum()})
    table = pd.DataFrame(rows, columns=["stage", "cpu_s"]).groupby("stage")["cpu_s"]
    return table.agg(jobs="size", cpu_s="sum").sort_values("cpu_s", ascending=False)


def scored(results: Path, model: str) -> dict[str, int]:
    """By stage, how many sequences' extraction likelihood was measured for one model."""
    tables = {
        "measure_original": [results / "original" / model / "scores.parquet"],
        "measure_unlearned": sorted((results / "unlearned" / model).rglob("scores.parquet")),
    }
    return {
        stage: sum(int(pd.read_parquet(path)["el"].notna().sum()) for path in paths)
        for stage, paths in tables.items()
    }


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process that `work` took, and its result."""
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result


def scoring(model: Path, results: Path, settings: MeasurementSettings, sample: int) -> pd.Series:
    """CPU seconds of each part of scoring one model on all sequences of the run."""
    loaded = load_model(model, torch.device("cpu")).eval()
    tokenizer = load_tokenizer(model)
    rows = torch.from_numpy(tokens_of(read_sequences(results / "sequences.parquet")))
    suite = suite_of(settings, results / "corpus" / "tasks", tokenizer)
    parts = {}
    parts["teacher-forced pass"], scores = cpu_seconds(lambda: score_tokens(loaded, rows))
    parts[OURS], _ = cpu_seconds(
        lambda: extraction_likelihood(loaded, rows, settings.ngram, scores=scores)
    )
    parts["NLP suite"], _ = cpu_seconds(
        lambda: evaluate(suite, loaded, tokenizer, batch_size=settings.batch_size)
    )
    case, length = Case(loaded, rows), rows.shape[1]
    step = max(1, (length - 1) // sample)
    prefixes = range(1 + step // 2, length, step)  # the middles of equal stretches
    batch = best_batch(case, "cpu")
    took, _ = cpu_seconds(lambda: published_el(case, settings.ngram, prefixes, batch))
    parts[PUBLISHED] = took * (length - 1) / len(prefixes)
    return pd.Series(parts | {"sequences": len(rows), "MA": float(scores.ma.mean())})


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"))
    parser.add_argument("--sample", type=int, default=5, help="prefix lengths of the slow loop")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = yaml.safe_load(options.config.read_text())
    settings = MeasurementSettings(**config["measurement"])
    results = Path("results") / config["run"]
    models = sorted((results / "models").iterdir())
    parts = pd.DataFrame(
        {model.name: scoring(model, results, settings, options.sample) for model in models}
    )
    table = stages(Path("logs") / config["run"] / "benchmarks")
    table["of_it_el"], table["published_loop"] = 0.0, table["cpu_s"]
    for name, taken in parts.items():
        for stage, count in scored(results, name).items():
            share = count / taken["sequences"]
            table.loc[stage, "of_it_el"] += share * taken[OURS]
            table.loc[stage, "published_loop"] += share * (taken[PUBLISHED] - taken[OURS])
    table.loc["together"] = table.sum()
    print("CPU seconds by stage: now, what of it is EL, and all with the published loop for EL")
    print(table.round(0).astype(int).to_string())
    print("\nCPU seconds of scoring an original model on all sequences")
    print(parts.round(2).to_string())


if __name__ == "__main__":
    main()
