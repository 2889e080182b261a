"""What it costs Snakemake to plan a large experiment: CPU seconds and memory of a dry run."""

import argparse
import re
import resource
import subprocess
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def large_config(models: int, sizes: int, labels: int, seeds: int) -> dict:
    """The demo's config with so many models, forget sizes, unlearners and draws; a job a cell."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    model = config["models"]["small"]
    config["run"] = "large"
    config["models"] = {f"model_{i}": model for i in range(models)}
    config["forget_sets"] = {"sizes": list(range(1, sizes + 1)), "seeds": list(range(seeds))}
    config["unlearners"] = {
        f"sga_{i}": {"method": "selective_gradient_ascent", "gamma": (i + 1) / labels}
        for i in range(labels)
    }
    config["jobs"] = {"split_by": ["forget_size", "unlearner", "seed"]}
    return config


def main() -> None:
    """Plan once and print jobs, seconds and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("models", 5), ("sizes", 5), ("labels", 20), ("seeds", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "large.yaml")
        path.write_text(yaml.safe_dump(large_config(**vars(arguments))))
        files = ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(path)]
        done = subprocess.run(
            # everything but the table of jobs is left out of the output
            ["snakemake", "-n", "--quiet", "rules", *files, "--directory", folder],
            capture_output=True,
            text=True,
            check=True,
        )
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    jobs = re.search(r"^total +(\d+)$", done.stdout, re.MULTILINE)[1]
    seconds = used.ru_utime + used.ru_stime
    print(f"{jobs} jobs planned in {seconds:.1f} CPU seconds with {used.ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
