"""Runs a script in a process that the kernel ends when anything in it opens a socket.

    python without_sockets.py SCRIPT [ARGUMENTS ...]

A seccomp filter sees native code too, which Python's audit hooks do not. Threads and child
processes inherit it.
"""

import ctypes
import platform
import runpy
import signal
import struct
import sys

# Machine -> (architecture in seccomp's data, number of the system call `socket`).
MACHINES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
IO_URING_SETUP = 425  # opens sockets without that call
KILLED = -signal.SIGSYS  # exit status of a process that opened one
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def forbid_sockets() -> None:
    """Install the filter in this process, for good."""
    architecture, socket = MACHINES[platform.machine()]
    steps = (
        (_LOAD, 0, 0, 4),
        (_EQUAL, 0, 3, architecture),
        (_LOAD, 0, 0, 0),
        (_EQUAL, 2, 0, socket),
        (_EQUAL, 1, 0, IO_URING_SETUP),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _KILL_PROCESS),
    )
    code = b"".join(struct.pack("<HBBI", *step) for step in steps)
    program = _Program(len(steps), code)
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0),
    ):
        if libc.prctl(*arguments):
            raise OSError(ctypes.get_errno(), "the kernel does not take a seccomp filter")


if __name__ == "__main__":
    forbid_sockets()
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
