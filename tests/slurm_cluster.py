"""A SLURM cluster of one node on this machine, for as long as a test lasts.

Real daemons on the loopback interface, with two GPUs that are none: device files that make SLURM
count, queue and hand them out, so that requests for GPUs are tested where there is no GPU.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
PACKAGES = ("slurm-wlm", "munge")
# an exported SLURM_CONF does not reach the inner srun of a job: the files must stand here
SITE = Path("/etc/slurm")
SEARCH = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}


def missing() -> str | None:
    """Why no cluster can be started here, after an attempt to install one; None if it can."""
    if os.geteuid() != 0:
        return "SLURM's daemons are started as root"
    if (SITE / "slurm.conf").exists():
        return "this machine belongs to a SLURM cluster already"
    if not installed():
        if not shutil.which("apt-get"):
            return "SLURM is not installed and there is no apt-get"
        for step in (["update", "-qq"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
            done = subprocess.run(
                ["apt-get", *step],
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True,
                text=True,
            )
        if not installed():
            return f"SLURM cannot be installed: {(done.stderr.splitlines() or ['?'])[-1]}"
    return None


def installed() -> bool:
    """Whether all programs are there."""
    return all(shutil.which(program, path=SEARCH["PATH"]) for program in PROGRAMS)


@dataclass(frozen=True)
class Cluster:
    """A running cluster; `folder` holds its state and logs."""

    folder: Path

    def run(self, *command: str) -> str:
        """Output of one of SLURM's commands."""
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def jobs(self) -> list[dict[str, str]]:
        """Every job of this cluster, finished ones too, as `scontrol show job` describes it."""
        found = []
        for line in self.run("scontrol", "--oneliner", "--all", "show", "job").splitlines():
            fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
            if "JobId" in fields:
                found.append(fields)
        return found

    def node(self, state: str) -> None:
        """Ask for a state of the node: drain, down, resume."""
        reason = [] if state == "resume" else ["Reason=test"]
        self.run("scontrol", "update", f"NodeName={HOST}", f"State={state}", *reason)


HOST = socket.gethostname().split(".")[0]


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Start munged, slurmctld and slurmd; stop all jobs and all three at the end."""
    for name in ("munge", "state", "spool", "log"):
        (folder / name).mkdir(parents=True)
    (folder / "munge").chmod(0o700)
    key = folder / "munge/key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    for gpu in range(2):  # SLURM refuses anything but a device: these are /dev/null by number
        os.mknod(folder / f"gpu{gpu}", 0o20666, os.makedev(1, 3))
    (folder / "slurm.conf").write_text(configuration(folder))
    (folder / "gres.conf").write_text(f"NodeName={HOST} Name=gpu File={folder}/gpu[0-1]\n")
    links = [SITE / name for name in ("slurm.conf", "gres.conf")]
    munge = [f"--{name}-file={folder}/munge/{name}" for name in ("key", "pid", "log", "seed")]
    munge.append(f"--socket={folder}/munge/socket")
    daemons: list[subprocess.Popen] = []
    try:
        SITE.mkdir(exist_ok=True)
        for link in links:
            link.symlink_to(folder / link.name)
        daemons.append(start("munged", "--foreground", "--force", *munge))
        wait_for(lambda: (folder / "munge/socket").exists(), "munged")
        daemons.append(start("slurmctld", "-D", "-i"))
        daemons.append(start("slurmd", "-D", "-N", HOST))
        wait_for(lambda: "idle" in query("sinfo", "-h", "-o", "%T"), "an idle node")
        yield Cluster(folder)
    finally:
        subprocess.run(["scancel", "--user", "root"], capture_output=True)
        if len(daemons) == 3:
            wait_for(lambda: not query("squeue", "-h"), "the end of all jobs")
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(timeout=30)
        for link in links:
            link.unlink(missing_ok=True)


def start(*command: str) -> subprocess.Popen:
    """A daemon in the foreground, as a child of ours, in a session of its own."""
    return subprocess.Popen(
        command,
        env=os.environ | SEARCH,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def query(*command: str) -> str:
    """Output of a command that may fail as long as the daemons are starting."""
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def wait_for(condition, what: str, seconds: float = 30, pause: float = 0.2) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it does not hold in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} after {seconds} s")
        time.sleep(pause)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def configuration(folder: Path) -> str:
    """slurm.conf: no cgroups, no accounting; every finished job leaves a line in jobcomp.txt."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 - 512
    return f"""\
ClusterName=test
SlurmctldHost={HOST}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
# four jobs at a time whatever the machine has: light ones need not wait for the two GPUs
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobcomp.txt
MinJobAge=7200
KillWait=2
ReturnToService=2
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
GresTypes=gpu
NodeName={HOST} NodeAddr=127.0.0.1 CPUs=4 RealMemory={memory} Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes={HOST} Default=YES MaxTime=1-00:00:00 DefaultTime=10 State=UP
PartitionName=gpu Nodes={HOST} MaxTime=1-00:00:00 DefaultTime=10 State=UP
"""
