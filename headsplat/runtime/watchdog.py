"""Ends a stage that hangs, or that was told to stop and does not: a process of its own beside it.

Native code may hold Python's lock for minutes: then no thread of the stage runs, and no handler of
a signal. This process needs nothing of the stage but `/proc`, the memory in which it says that it
goes on (`headsplat.runtime.heartbeat`), and a pipe into which Python writes each signal the moment
it comes (`signal.set_wakeup_fd`). `headsplat.runtime.watching` starts it. It ends with the stage.

A stage hangs that shows no progress for long: shorter if it does not use the CPU either, or stands
at its memory limit; longer while it computes. Time in which the stage, this process or the whole
machine was stopped does not count.
"""

import os
import select
import signal
import stat
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from headsplat.runtime import heartbeat
from headsplat.runtime.control_group import memory_limit_is_reached
from headsplat.runtime.process import STOPPED, Seen, descendants, look, send, tell_workflow
from headsplat.runtime.stopping import PATIENCE, SIGNALS, STATUS

# At this signal the stage writes down where its threads stand.
DUMP = signal.SIGUSR1
# Seconds from the signal until the handler must have run, from the order to end until the kernel
# ends the stage, and for writing down where it stands.
_HEARD, _ORDERLY, _WRITTEN = 0.5, 0.7, 2.0
# A process that uses less of a core than this does not compute.
_USE = 0.05
_LOOKS = 20  # within the shorter limit
_HALTED = 2  # looks at which a child may be stopped before it is continued
_PAUSE = (0.05, 5.0)  # seconds between looks, at least and at most
_ROOT = f"{Path(__file__).resolve().parents[2]}/"
_OUR_CODE = (f"{_ROOT}headsplat/", f"{_ROOT}workflow_scripts/")
_OWN_THREAD = "in _obey\n"  # of `headsplat.runtime.watching`
_GAP = 10  # pauses after which this process must have been stopped itself


class Silence:
    """How long a stage has shown nothing.

    Attributes:
        silent: seconds without a sign of progress.
        idle: of these the last, without use of the CPU.
    """

    def __init__(self) -> None:
        self.silent = self.idle = 0.0
        self._beats, self._used = -1, 0.0

    def heard(self, beats: int) -> bool:
        """Whether there was a sign since the last look, of which there are so many up to now."""
        if beats == self._beats:
            return False
        self.silent = self.idle = self._used = 0.0
        self._beats = beats
        return True

    def look(self, passed: float, seconds: float) -> None:
        """Take note of a look at a stage that gave no sign.

        Args:
            passed: seconds since the last look.
            seconds: CPU time that it and its children have used up to now.
        """
        self.silent += passed
        self.idle += passed
        if seconds < self._used:  # a child ended whose parent did not wait for it
            self._used = seconds
        elif seconds - self._used > _USE * self.idle + _USE:
            self.idle, self._used = 0.0, seconds


class Handles(NamedTuple):
    """Descriptors that the stage shares.

    Attributes:
        pulse: memory of its signs of progress.
        signals: pipe from which its signals are read.
        order: pipe into which the status is written with which it is to end.
        dump: file in which it writes down where its threads stand.
    """

    pulse: int
    signals: int
    order: int
    dump: int


class Watchdog:
    """Watches one stage.

    Args:
        stage: process id.
        name: of the stage, for messages.
        idle: seconds without progress and without use of the CPU that are too many; 0 for never.
        busy: the same while it computes.
        handles: see there.
    """

    def __init__(self, stage: int, name: str, idle: float, busy: float, handles: Handles) -> None:
        self.stage, self.name = stage, name
        self.idle, self.busy, self.handles = idle, busy, handles
        self._pulse = heartbeat.open_shared(handles.pulse)
        self._silence = Silence()
        self._paused = 0.0
        # Child that is stopped -> looks at which it was; those that were continued.
        self._halted: dict[int, int] = {}
        self._continued: set[int] = set()
        self._told = False
        shorter = min([limit for limit in (self.idle, self.busy) if limit > 0], default=3600.0)
        self._pause = min(max(shorter / _LOOKS, _PAUSE[0]), _PAUSE[1])

    def run(self) -> None:
        """Watch until the stage has ended or is to be ended."""
        last = time.monotonic()
        while self._lives():
            if self._signal(self._pause):
                self._stop()
                return
            now = time.monotonic()
            passed = min(now - last, _GAP * self._pause)
            last = now
            seen = look(self.stage)
            if seen is not None and (why := self._judge(seen, passed)) is not None:
                self._hung(why)
                return

    def _lives(self) -> bool:
        return os.getppid() == self.stage

    def _signal(self, wait: float) -> bool:
        """Whether the stage is asked to stop within `wait` seconds; if it ends, so does this."""
        if not select.select([self.handles.signals], [], [], wait)[0]:
            return False
        numbers = os.read(self.handles.signals, 64)
        if not numbers:
            os._exit(0)
        return any(number in SIGNALS for number in numbers)

    def _stop(self) -> None:
        """The stage was asked to stop: see that it does, and that its workflow knows."""
        asked = time.monotonic()
        while (waited := time.monotonic() - asked) < PATIENCE:
            self._signal(0.1)
            if waited > _HEARD and not self._told:
                self._told = True
                if not heartbeat.request_noted(self._pulse):
                    tell_workflow(self.stage)
        self._say("stopped; the same command continues")
        self._end(STATUS)

    def _judge(self, seen: Seen, passed: float) -> str | None:
        """Why the stage counts as hung, or None; what is stopped is continued."""
        if seen.state in "Tt":
            self._wake_stage(seen, passed)
            return None
        self._paused = 0.0
        if self._silence.heard(heartbeat.read(self._pulse).beats):
            return None
        below = [pid for pid in descendants(self.stage) if pid != os.getpid()]
        children = {pid: child for pid in below if (child := look(pid)) is not None}
        used = seen.seconds + sum(child.seconds for child in children.values())
        self._silence.look(passed, used)
        self._wake_children(children)
        silent, idle = self._silence.silent, self._silence.idle
        if 0 < self.idle <= idle:
            return f"no progress and no use of the CPU for {_duration(idle)} (watchdog.idle)"
        if 0 < self.busy <= silent:
            return f"no progress for {_duration(silent)}, while it computed (watchdog.busy)"
        if 0 < self.idle <= silent and memory_limit_is_reached(Path(f"/proc/{self.stage}")):
            return f"no progress for {_duration(silent)} at its memory limit (watchdog.idle)"
        return None

    def _wake_stage(self, seen: Seen, passed: float) -> None:
        """Continue a stage that was stopped alone, without this process, and then forgotten."""
        self._paused += passed
        if seen.state == STOPPED and 0 < self.idle <= self._paused:
            self._say(f"{self.name} was stopped (SIGSTOP) for {_duration(self._paused)}: continued")
            send(signal.SIGCONT, [self.stage])
            self._paused = 0.0

    def _wake_children(self, children: dict[int, Seen]) -> None:
        """Continue children that are stopped at several looks, while the stage waits for them."""
        stopped = [pid for pid, child in children.items() if child.state == STOPPED]
        self._halted = {pid: self._halted.get(pid, 0) + 1 for pid in stopped}
        for pid in stopped:
            if self._halted[pid] > _HALTED:
                # Said first: the stage may end, and this process with it, once the child goes on.
                if pid not in self._continued:
                    self._say(f"the child {pid} of {self.name} was stopped (SIGSTOP): continued")
                    self._continued.add(pid)
                send(signal.SIGCONT, [pid])

    def _hung(self, why: str) -> None:
        threads = self._threads()
        self._say("\n\n".join(threads) or "it does not say where its threads stand")
        doing = heartbeat.read(self._pulse).doing
        said = f", last heard: {doing!r}" if doing else ""
        inputs = "".join(f"; {path} is not a regular file" for path in _special_files(self.stage))
        # The main thread comes last.
        place = _place(threads[-1]) if threads else ""
        self._say(
            f"error: {self.name} hangs{place}: {why}{said}{inputs}; the same command tries again"
        )
        self._end(1)

    def _threads(self) -> list[str]:
        """Where each of the stage's threads stands, as it writes at the signal; else nothing."""
        send(DUMP, [self.stage])
        size, end = -1, time.monotonic() + _WRITTEN
        while time.monotonic() < end:
            before, size = size, os.fstat(self.handles.dump).st_size
            if size == before and size > 0:
                break
            time.sleep(0.1)
        said = os.pread(self.handles.dump, max(size, 0), 0).decode(errors="replace")
        threads = (thread.strip() for thread in said.split("\n\n"))
        return [thread for thread in threads if thread and _OWN_THREAD not in thread]

    def _end(self, status: int) -> None:
        """End the stage with this status if it still can, else by SIGKILL, and all below it."""
        with suppress(OSError):  # it has just ended
            os.write(self.handles.order, bytes([status]))
        ordered = time.monotonic()
        while time.monotonic() - ordered < _ORDERLY and self._lives():
            self._signal(0.05)
        below = [pid for pid in descendants(self.stage) if pid != os.getpid()]
        if self._lives():
            send(signal.SIGKILL, [self.stage, *below])

    def _say(self, line: str) -> None:
        """Into the stage's log; one call a line, because the stage writes there as well."""
        with suppress(OSError):  # the disk may be full, or nobody reads any more
            os.write(sys.stderr.fileno(), f"{line}\n".encode(errors="replace"))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _place(thread: str) -> str:
    """Where in this project's code a thread stands, and who called it there."""
    frames = [
        frame.split('"')
        for frame in thread.splitlines()
        if any(folder in frame for folder in _OUR_CODE)
    ]
    if not frames:
        return ""
    _, file, line = frames[0]
    callers = [frame[2].rpartition(" in ")[2] for frame in frames[1:3]]
    called = f", called by {', '.join(callers)}" if callers else ""
    return f" at {file.removeprefix(_ROOT)}{line}{called}"


def _special_files(stage: int) -> list[str]:
    """Pipes, devices and sockets among the files that a stage was given: such may block for ever.

    Args:
        stage: process id.
    """
    found = []
    try:
        words = Path(f"/proc/{stage}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
    for word in words[1:]:
        path = Path(f"/proc/{stage}/cwd", word)
        with suppress(OSError, ValueError):
            mode = path.stat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                found.append(word)
    return found


def main(arguments: Sequence[str]) -> None:
    """Watch the parent of this process; `headsplat.runtime.watching` gives the arguments."""
    stage, name, idle, busy, *handles = arguments
    os.chdir("/")
    watchdog = Watchdog(int(stage), name, float(idle), float(busy), Handles(*map(int, handles)))
    watchdog.run()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
