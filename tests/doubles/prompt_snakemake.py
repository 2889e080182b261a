"""Snakemake whose SLURM executor asks for its jobs every two seconds.

The executor itself waits ten seconds longer after each answer that brought nothing new: right for a
cluster, and most of a test's time. Nothing but the waiting is replaced.
"""

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

Executor.next_seconds_between_status_checks = property(lambda _: 2, lambda _, seconds: None)

if __name__ == "__main__":
    main()
