"""A SLURM cluster of several nodes on this machine, with munge, in a folder of its own."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from headsplat.runtime.process import descendants, send

CONFIG = """\
ClusterName=headsplat
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SwitchType=switch/none
MpiDefault=none
GresTypes=gpu
ReturnToService=2
SlurmdTimeout=10
KillWait=15
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] \\
  CPUs=4 RealMemory=16000 Gres=gpu:1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
SlurmdParameters=config_overrides
"""
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "squeue", "sinfo")


class CannotStartError(RuntimeError):
    """Why SLURM does not run on this machine."""


def _path() -> str:
    return os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])


def _free_ports(count: int) -> list[int]:
    for first in range(20000 + os.getpid() % 10000, 60000, count):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for offset, each in enumerate(sockets):
                each.bind(("127.0.0.1", first + offset))
            return list(range(first, first + count))
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
    raise CannotStartError("no free ports")


class Cluster:
    """Daemons in the foreground, children of this process; every node has one GPU by name only."""

    def __init__(self, folder: Path, nodes: int = 2):
        for program in PROGRAMS:
            if shutil.which(program, path=_path()) is None:
                raise CannotStartError(f"{program} is not installed (Debian: slurm-wlm, munge)")
        self.folder, self.daemons = folder, {}
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        folder.mkdir(parents=True)
        folder.chmod(0o755)  # munge refuses a folder that others may write
        for made in (folder / "state", *map(self._spool, self.nodes)):
            made.mkdir()
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        port, *ports = _free_ports(nodes + 1)
        self.config = folder / "slurm.conf"
        self.config.write_text(
            CONFIG.format(
                host=socket.gethostname().split(".")[0], port=port, nodes=nodes, folder=folder,
                first=ports[0], last=ports[-1], user=getpass.getuser(),
            )
        )  # fmt: skip
        # A character device stands for the GPU, so that SLURM counts it and gives it out.
        (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
        # The plugin clears SLURM's variables before its inner srun, which then looks in /etc.
        self.bin = folder / "bin"
        self.bin.mkdir()
        srun = self.bin / "srun"
        srun.write_text(
            f'#!/bin/sh\nSLURM_CONF={self.config} exec {shutil.which("srun", path=_path())} "$@"\n'
        )
        srun.chmod(0o755)
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(self.config),
            "PATH": f"{self.bin}{os.pathsep}{_path()}",
        }

    def start(self) -> None:
        """Start all daemons and wait until every node is idle."""
        munge = [
            f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "log", "pid", "seed")
        ]
        socket_file = self.folder / "munge.socket"
        self._daemon("munged", "munged", "-F", "--force", f"--socket={socket_file}", *munge)
        self._until("munge's socket", socket_file.exists)
        self._daemon("slurmctld", "slurmctld", "-D", "-c", "-f", str(self.config))
        for node in self.nodes:
            self.start_node(node)
        self._until(
            "idle nodes",
            lambda: self.run("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * len(self.nodes),
        )

    def start_node(self, node: str) -> None:
        """Start one node's daemon, for the first time or after it died."""
        command = ("slurmd", "-D", "-N", node, "-f", str(self.config))
        self._daemon(node, *command, folder=self._spool(node))

    def kill_node(self, node: str) -> None:
        """SIGKILL the node's daemon and all that runs there, as a node that loses its power."""
        self.daemons[node].kill()
        self.daemons[node].wait()
        for process in self._stepds(node):
            send(signal.SIGKILL, [*descendants(process), process])

    def _stepds(self, node: str) -> list[int]:
        """Ids of the processes that run the node's jobs; they survive its daemon."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    name = (entry / "cmdline").read_bytes()
                    here = os.readlink(entry / "cwd")
                except OSError:  # gone meanwhile
                    continue
                if name.startswith(b"slurmstepd") and here == str(self._spool(node)):
                    found.append(int(entry.name))
        return found

    def _spool(self, node: str) -> Path:
        return self.folder / f"spool-{node}"

    def run(self, *command: str) -> str:
        """Standard output of one of SLURM's commands; empty while the controller is silent."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60
        )
        return done.stdout

    def states(self) -> dict[str, str]:
        """Node -> its state, as sinfo says it."""
        rows = (line.split() for line in self.run("sinfo", "-h", "-N", "-o", "%N %T").splitlines())
        return dict(rows) or dict.fromkeys(self.nodes, "unknown")

    def running(self) -> dict[str, tuple[str, str]]:
        """Job id -> (node, what the workflow calls it) of the running jobs."""
        rows = (
            line.split("|")
            for line in self.run("squeue", "-h", "-t", "R", "-o", "%i|%N|%k").splitlines()
        )
        return {job: (node, comment) for job, node, comment in rows}

    def stop(self) -> None:
        """End the jobs and the daemons."""
        if "slurmctld" in self.daemons:
            self.run("scancel", "-u", getpass.getuser(), "--full")
            deadline = time.monotonic() + 20
            while self.running() and time.monotonic() < deadline:
                time.sleep(0.5)
        for daemon in reversed(self.daemons.values()):
            if daemon.poll() is None:
                daemon.send_signal(signal.SIGTERM)
        for node in self.nodes:
            send(signal.SIGKILL, self._stepds(node))
        for daemon in self.daemons.values():
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def log(self, name: str) -> str:
        """What a daemon said last."""
        return "\n".join((self.folder / f"{name}.out").read_text().splitlines()[-5:])

    def _daemon(self, name: str, *command: str, folder: Path | None = None) -> None:
        with open(self.folder / f"{name}.out", "a") as out:
            self.daemons[name] = subprocess.Popen(
                command, cwd=folder or self.folder, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip

    def _until(self, what: str, true: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            dead = [name for name, daemon in self.daemons.items() if daemon.poll() is not None]
            if dead or time.monotonic() > deadline:
                name = dead[0] if dead else list(self.daemons)[-1]
                raise CannotStartError(f"no {what}; {name} says: {self.log(name)}")
            time.sleep(0.3)
