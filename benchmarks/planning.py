"""What it costs Snakemake to plan a large experiment: CPU seconds and memory of a dry run."""

import argparse
import math
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
    for name, default in (("models", 5), ("sizes", 5), ("labels", 19), ("seeds", 14)):
        parser.add_argument(f"--{name}", type=int, default=default)
    grid = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "large.yaml")
        path.write_text(yaml.safe_dump(large_config(**grid)))
        files = ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(path)]
        subprocess.run(["snakemake", "-n", "--quiet", *files, "--directory", folder], check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, megabytes = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6
    jobs = 3 * math.prod(grid.values())  # unlearn, measure, attack
    print(f"{jobs} jobs and a few more: {seconds:.1f} CPU seconds, {megabytes:.0f} MB")


if __name__ == "__main__":
    main()
