"""Watchdog process of a stage: ends the stage if it hangs or does not exit after a stop signal.

It is a separate process: native code may hold Python's global lock for minutes, and then no thread
and no signal handler of the stage runs. It reads only `/proc`, the shared heartbeat
(`headsplat.runtime.heartbeat`), and a pipe to which Python writes each signal on arrival
(`signal.set_wakeup_fd`). `headsplat.runtime.watchdog_launcher` starts it. It exits with the stage.

A stage without a heartbeat counts as hung after the limit `idle`, if it does not use the CPU or is
at its memory limit. While it computes, the longer limit `busy` applies. Time in which the stage,
this process or the whole machine was stopped does not count.
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
from headsplat.runtime.memory import memory_limit_is_reached
from headsplat.runtime.process import descendants, send_signal, stop_workflow
from headsplat.runtime.stopping import GRACE_SECONDS, SIGNALS, STATUS
from headsplat.runtime.system import PROC, ProcessStat, process

# At this signal the stage dumps the stacks of its threads (`faulthandler.register`).
DUMP = signal.SIGUSR1
# Seconds: for the stage's signal handler to run, from the exit order to SIGKILL, for the dump.
_HANDLER_SECONDS, _EXIT_SECONDS, _DUMP_SECONDS = 0.5, 0.7, 2.0
# A process that uses a smaller share of one core than this counts as idle.
_CPU_SHARE = 0.05
STOPPED = "T"  # state after SIGSTOP or a terminal stop; a debugger's stop is "t"
_POLLS = 20  # within the shorter limit
_STOPPED_POLLS = 2  # polls at which a child may be stopped before it is continued
_INTERVAL = (0.05, 5.0)  # seconds between polls, at least and at most
_ROOT = f"{Path(__file__).resolve().parents[2]}/"
_OUR_CODE = (f"{_ROOT}headsplat/", f"{_ROOT}workflow_scripts/")
_OWN_THREAD = "in _exit_on_order\n"  # of `headsplat.runtime.watchdog_launcher`
_LONGEST_GAP = 10  # intervals between two polls; after more, this process was stopped itself


class InactivityTimer:
    """Time since the last heartbeat of a stage, and since it last used the CPU.

    Attributes:
        silent: seconds without a heartbeat.
        idle: seconds at the end of these without CPU use.
    """

    def __init__(self) -> None:
        self.silent = self.idle = 0.0
        self._beats, self._used = -1, 0.0

    def update_beats(self, beats: int) -> bool:
        """Reset and return True if the number of heartbeats has changed since the last poll."""
        if beats == self._beats:
            return False
        self.silent = self.idle = self._used = 0.0
        self._beats = beats
        return True

    def update_cpu(self, passed: float, seconds: float) -> None:
        """Account for a poll without a new heartbeat.

        Args:
            passed: seconds since the last poll.
            seconds: total CPU time of the stage and its children.
        """
        self.silent += passed
        self.idle += passed
        if seconds < self._used:  # a child ended and was not reaped, so its time is lost
            self._used = seconds
        elif seconds - self._used > _CPU_SHARE * self.idle + _CPU_SHARE:
            self.idle, self._used = 0.0, seconds


class Handles(NamedTuple):
    """File descriptors shared with the stage.

    Attributes:
        pulse: memory of the heartbeat.
        signals: pipe from which the stage's signals are read.
        order: pipe to which the exit status is written that the stage must exit with.
        dump: file to which the stage dumps the stacks of its threads.
    """

    pulse: int
    signals: int
    order: int
    dump: int


class Watchdog:
    """Watches one stage.

    Args:
        stage: process id.
        name: name of the stage, for messages.
        idle: limit in seconds without heartbeat and CPU use; 0 for none.
        busy: limit in seconds without heartbeat but with CPU use; 0 for none.
        handles: see `Handles`.
    """

    def __init__(self, stage: int, name: str, idle: float, busy: float, handles: Handles) -> None:
        self.stage, self.name = stage, name
        self.idle, self.busy, self.handles = idle, busy, handles
        self._pulse = heartbeat.open_shared(handles.pulse)
        self._timer = InactivityTimer()
        self._paused = 0.0
        # Stopped child -> polls at which it was stopped; children that were continued.
        self._stopped_polls: dict[int, int] = {}
        self._continued: set[int] = set()
        self._workflow_stopped = False
        shorter = min([limit for limit in (self.idle, self.busy) if limit > 0], default=3600.0)
        self._interval = min(max(shorter / _POLLS, _INTERVAL[0]), _INTERVAL[1])

    def run(self) -> None:
        """Watch until the stage has ended or must be ended."""
        last = time.monotonic()
        while self._is_alive():
            if self._stop_requested(self._interval):
                self._await_exit()
                return
            now = time.monotonic()
            passed = min(now - last, _LONGEST_GAP * self._interval)
            last = now
            stat = process(self.stage)
            if stat is not None and (why := self._reason_to_end(stat, passed)) is not None:
                self._end_hung_stage(why)
                return

    def _is_alive(self) -> bool:
        return os.getppid() == self.stage

    def _stop_requested(self, wait: float) -> bool:
        """Whether the stage gets a stop signal within `wait` seconds; exits if the stage does."""
        if not select.select([self.handles.signals], [], [], wait)[0]:
            return False
        numbers = os.read(self.handles.signals, 64)
        if not numbers:
            os._exit(0)
        return any(number in SIGNALS for number in numbers)

    def _await_exit(self) -> None:
        """Wait for a stage that got a stop signal; stop the workflow if the stage cannot."""
        asked = time.monotonic()
        while (waited := time.monotonic() - asked) < GRACE_SECONDS:
            self._stop_requested(0.1)
            if waited > _HANDLER_SECONDS and not self._workflow_stopped:
                self._workflow_stopped = True
                if not heartbeat.stop_acknowledged(self._pulse):
                    stop_workflow(self.stage)
        self._log("stopped; the same command continues")
        self._end(STATUS)

    def _reason_to_end(self, stat: ProcessStat, passed: float) -> str | None:
        """Why the stage counts as hung, or None; continues stopped processes."""
        if stat.state in "Tt":
            self._continue_stage(stat, passed)
            return None
        self._paused = 0.0
        if self._timer.update_beats(heartbeat.read(self._pulse).beats):
            return None
        below = [pid for pid in descendants(self.stage) if pid != os.getpid()]
        children = {pid: child for pid in below if (child := process(pid)) is not None}
        used = stat.seconds + sum(child.seconds for child in children.values())
        self._timer.update_cpu(passed, used)
        self._continue_children(children)
        silent, idle = self._timer.silent, self._timer.idle
        if 0 < self.idle <= idle:
            return f"no progress and no use of the CPU for {_duration(idle)} (watchdog.idle)"
        if 0 < self.busy <= silent:
            return f"no progress for {_duration(silent)}, while it computed (watchdog.busy)"
        if 0 < self.idle <= silent and memory_limit_is_reached(PROC / str(self.stage)):
            return f"no progress for {_duration(silent)} at its memory limit (watchdog.idle)"
        return None

    def _continue_stage(self, stat: ProcessStat, passed: float) -> None:
        """Continue a stage that was stopped alone for longer than the idle limit."""
        self._paused += passed
        if stat.state == STOPPED and 0 < self.idle <= self._paused:
            self._log(f"{self.name} was stopped (SIGSTOP) for {_duration(self._paused)}: continued")
            send_signal(signal.SIGCONT, [self.stage])
            self._paused = 0.0

    def _continue_children(self, children: dict[int, ProcessStat]) -> None:
        """Continue children that stay stopped for several polls, because the stage waits."""
        stopped = [pid for pid, child in children.items() if child.state == STOPPED]
        self._stopped_polls = {pid: self._stopped_polls.get(pid, 0) + 1 for pid in stopped}
        for pid in stopped:
            if self._stopped_polls[pid] > _STOPPED_POLLS:
                # Logged first: once the child continues, the stage and this process may exit.
                if pid not in self._continued:
                    self._log(f"the child {pid} of {self.name} was stopped (SIGSTOP): continued")
                    self._continued.add(pid)
                send_signal(signal.SIGCONT, [pid])

    def _end_hung_stage(self, why: str) -> None:
        stacks = self._dump_stacks()
        self._log("\n\n".join(stacks) or "the stacks of its threads could not be read")
        activity = heartbeat.read(self._pulse).activity
        last = f", last progress: {activity!r}" if activity else ""
        inputs = "".join(f"; {path} is not a regular file" for path in _special_files(self.stage))
        # The main thread comes last.
        place = _place(stacks[-1]) if stacks else ""
        self._log(
            f"error: {self.name} hangs{place}: {why}{last}{inputs}; the same command tries again"
        )
        self._end(1)

    def _dump_stacks(self) -> list[str]:
        """Stack of each thread of the stage, the main thread last; empty if it writes none."""
        send_signal(DUMP, [self.stage])
        size, end = -1, time.monotonic() + _DUMP_SECONDS
        while time.monotonic() < end:
            before, size = size, os.fstat(self.handles.dump).st_size
            if size == before and size > 0:
                break
            time.sleep(0.1)
        text = os.pread(self.handles.dump, max(size, 0), 0).decode(errors="replace")
        stacks = (stack.strip() for stack in text.split("\n\n"))
        return [stack for stack in stacks if stack and _OWN_THREAD not in stack]

    def _end(self, status: int) -> None:
        """Order the stage to exit with `status`; after a while SIGKILL it and its descendants."""
        with suppress(OSError):  # the stage has just ended
            os.write(self.handles.order, bytes([status]))
        ordered = time.monotonic()
        while time.monotonic() - ordered < _EXIT_SECONDS and self._is_alive():
            self._stop_requested(0.05)
        below = [pid for pid in descendants(self.stage) if pid != os.getpid()]
        if self._is_alive():
            send_signal(signal.SIGKILL, [self.stage, *below])

    def _log(self, line: str) -> None:
        """Write a line to the stage's log in one call, because the stage writes there too."""
        with suppress(OSError):  # the disk may be full, or the pipe closed
            os.write(sys.stderr.fileno(), f"{line}\n".encode(errors="replace"))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _place(stack: str) -> str:
    """Innermost line of a stack in this project's code, and its callers."""
    frames = [
        frame.split('"')
        for frame in stack.splitlines()
        if any(folder in frame for folder in _OUR_CODE)
    ]
    if not frames:
        return ""
    _, file, line = frames[0]
    callers = [frame[2].rpartition(" in ")[2] for frame in frames[1:3]]
    called = f", called by {', '.join(callers)}" if callers else ""
    return f" at {file.removeprefix(_ROOT)}{line}{called}"


def _special_files(stage: int) -> list[str]:
    """Pipes, devices and sockets among a stage's arguments, because reading them may block.

    Args:
        stage: process id.
    """
    found = []
    try:
        words = (PROC / str(stage) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
    for word in words[1:]:
        path = PROC / str(stage) / "cwd" / word
        with suppress(OSError, ValueError):
            mode = path.stat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                found.append(word)
    return found


def main(arguments: Sequence[str]) -> None:
    """Watch the parent process; `headsplat.runtime.watchdog_launcher` passes the arguments."""
    stage, name, idle, busy, *handles = arguments
    os.chdir("/")
    watchdog = Watchdog(int(stage), name, float(idle), float(busy), Handles(*map(int, handles)))
    watchdog.run()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
