"""Where a run's time goes: CPU seconds by stage, and inside one evaluation.

The stages come from Snakemake's benchmark files of a finished run (user and system seconds of a
job, as Snakemake samples them). The parts of one evaluation are measured here, on an original
model: the teacher-forced pass, the extraction likelihood, the NLP suite; and, for comparison, the
extraction likelihood by the published loop, on a sample of the prefix lengths.
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

from unlearning.evaluation import evaluate
from unlearning.measurement import suite_of
from unlearning.memorization import extraction_likelihood, score_tokens
from unlearning.models import load_model, load_tokenizer
from unlearning.sequences import read_sequences, tokens_of
from unlearning.settings.measurement import MeasurementSettings


def stages(folder: Path) -> pd.DataFrame:
    """Jobs and CPU seconds by rule, from the benchmark files below `folder`; longest first."""
    rows = [
        {
            "stage": path.relative_to(folder).parts[0].removesuffix(".tsv"),
            "cpu_s": pd.read_csv(path, sep="\t")["cpu_time"].sum(),
        }
        for path in sorted(folder.rglob("*.tsv"))
    ]
    table = pd.DataFrame(rows, columns=["stage", "cpu_s"]).groupby("stage")["cpu_s"]
    table = table.agg(jobs="size", cpu_s="sum").sort_values("cpu_s", ascending=False)
    return table.assign(share=table["cpu_s"] / table["cpu_s"].sum()).reset_index()


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process that `work` took, and its result."""
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result


def evaluation(
    model: Path, results: Path, settings: MeasurementSettings, sample: int
) -> dict[str, float]:
    """CPU seconds of each part of evaluating one model."""
    loaded = load_model(model, torch.device("cpu")).eval()
    tokenizer = load_tokenizer(model)
    rows = torch.from_numpy(tokens_of(read_sequences(results / "sequences.parquet")))
    suite = suite_of(settings, results / "corpus" / "tasks", tokenizer)
    parts = {}
    parts["teacher-forced pass"], scores = cpu_seconds(lambda: score_tokens(loaded, rows))
    parts["extraction likelihood"], _ = cpu_seconds(
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
    parts["extraction likelihood, published loop"] = took * (length - 1) / len(prefixes)
    return parts | {"MA": float(scores.ma.mean())}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--benchmarks", type=Path, help="logs/<run>/benchmarks of a finished run")
    parser.add_argument("--results", type=Path, default=Path("results/demo"))
    parser.add_argument("--config", type=Path, default=Path("config/config.yaml"))
    parser.add_argument("--models", nargs="*", type=Path, help="model folders to evaluate")
    parser.add_argument("--sample", type=int, default=5, help="prefix lengths of the slow loop")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.benchmarks:
        print(stages(options.benchmarks).round({"cpu_s": 1, "share": 3}).to_string(index=False))
    settings = MeasurementSettings(**yaml.safe_load(options.config.read_text())["measurement"])
    for model in options.models or ():
        print(f"\n{model}")
        for part, value in evaluation(model, options.results, settings, options.sample).items():
            print(f"  {part:40} {value:8.2f}")


if __name__ == "__main__":
    main()
