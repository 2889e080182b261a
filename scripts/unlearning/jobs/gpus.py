"""Which GPU a job computes on: each job gets its own, through one lock file per device.

Snakemake counts GPUs and does not assign them; SLURM assigns them and sets CUDA_VISIBLE_DEVICES.
Both cases meet here: of the devices that are visible, a job takes as many as it was given, waits
while they are busy, and hides the others from the libraries. The locks are of the machine, so two
workflows in two folders keep apart as well. Call `take` before CUDA is initialized.
"""

import functools
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from unlearning.jobs.errors import InputError
from unlearning.jobs.locks import hold, release

JOBS_PER_GPU = "JOBS_PER_GPU"
"""Environment variable: how many jobs may share a device, 1 if not set."""


@functools.cache
def take(number: int) -> tuple[str, ...]:
    """Hold so many GPUs until the process ends and make them the only visible ones.

    A second call with the same number changes nothing. Where no device can be listed, nothing is
    held: the library that computes will say so.

    Returns:
        Identifiers of the devices, in the order in which libraries will number them.

    Raises:
        InputError: fewer devices are visible than are asked for, or JOBS_PER_GPU is no number.
    """
    devices = visible()
    if not devices:
        return ()
    if number > len(devices):
        raise InputError(
            f"--gpus {number}: only {len(devices)} visible here ({', '.join(devices)});"
            " lower the resource `gpu` of the rule"
        )
    taken, _ = acquire(devices, number, jobs_per_gpu())
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
    return taken


def jobs_per_gpu() -> int:
    """How many jobs may share a device.

    Raises:
        InputError: the environment says no positive number.
    """
    text = os.environ.get(JOBS_PER_GPU, "1")
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{JOBS_PER_GPU}: '{text}' is no positive number; set 1 or more")
    return int(text)


def visible() -> list[str]:
    """Devices that this process may use, by UUID where the driver tells it.

    UUIDs, because inside a container or an allocation every job may call its device number 0.
    """
    listed = _driver()
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return list(listed.values())
    names = [name.strip() for name in allowed.split(",") if name.strip()]
    return [listed.get(name, name) for name in names]


def _driver() -> dict[str, str]:
    """Index -> UUID of every device that the driver shows; empty without a driver."""
    command = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return dict(line.replace(" ", "").split(",") for line in done.stdout.splitlines())


def acquire(
    devices: Sequence[str], number: int, share: int, folder: Path | None = None
) -> tuple[tuple[str, ...], list[int]]:
    """Lock `number` different devices, waiting until so many are free at once.

    Never some of them: two jobs that each hold half of what they need would wait for ever.

    Args:
        devices: identifiers to choose from.
        number: how many to lock.
        share: how many jobs may hold one device; an idle device is preferred to a shared one.
        folder: where the lock files stand; the machine's temporary folder by default.

    Returns:
        The devices, in the order of `devices`, and the handles of their locks.
    """
    folder = folder or Path(tempfile.gettempdir())
    said = False
    while True:
        held: dict[str, int] = {}
        for place, device in itertools.product(range(share), devices):
            if len(held) < number and device not in held:
                handle = hold(folder / f"gpu-{device}.{place}.lock", wait=False)
                if handle is not None:
                    held[device] = handle
        if len(held) == number:
            return tuple(device for device in devices if device in held), list(held.values())
        for handle in held.values():
            release(handle)
        if not said:
            print(f"waiting for {number} of {len(devices)} GPUs, all busy", file=sys.stderr)
            said = True
        # out of step with others that wait
        time.sleep(0.5 + (os.getpid() % 16) / 32)
