"""Outputs that take raw images: an ffmpeg process, a video device, stdout, a virtual camera."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from headsplat.live.options import OutputOptions
from headsplat.live.outputs import OutputEnded
from headsplat.live.slot import Latency
from headsplat.runtime.errors import UserError, one_line, shown
from headsplat.runtime.logs import log

_SOON, _LONG = 1.0, 60.0  # seconds for ffmpeg to complete its output: until a line says so, at most
_TERMINATED = 2.0  # seconds for it to end after a signal
_LOOK = 0.02  # seconds between looks whether it has ended
_KEPT, _LONGEST_LINE = 4096, 300  # bytes of what it said last, characters of a line of that


class _RawOutput:
    """Writes RGB images from a thread of its own, so that a slow reader delays no packet."""

    def __init__(
        self, options: OutputOptions, size: tuple[int, int], arguments: Sequence[str]
    ) -> None:
        self._fps, self._size, self._arguments = options.fps, size, list(arguments)
        self.latency, self._written = Latency(), 0
        self._thread = ThreadPoolExecutor(1, "output")
        self._hurried = False

    def hurry(self) -> None:
        """End without completing what was written."""
        self._hurried = True

    def encode(self, image: np.ndarray) -> Any:
        """(H, W, 3) uint8 -> what `_write` takes."""
        return image.data

    async def send(self, data: Any, arrived: float | None) -> None:
        """Write an image that follows from what arrived at a time; None for a repeated image."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._write, data)
        except (OSError, ValueError) as error:
            await self._ends(error)
            raise UserError(f"{self._name} takes no more images ({one_line(error)})") from error
        self._written += 1
        if arrived is not None:
            self.latency.add(arrived)

    def report(self) -> str:
        """What was written, and how soon."""
        if self.latency.count:
            return str(self.latency)
        return f"{self._written} images of the resting face" if self._written else "nothing"

    async def __aenter__(self) -> "_RawOutput":
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        try:
            await self._close()
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)
        if kind is None:
            self._check()

    _name = ""
    _file: BinaryIO

    def _open(self) -> None:
        raise NotImplementedError

    def _write(self, data: Any) -> None:
        self._file.write(data)
        self._file.flush()

    async def _close(self) -> None:
        raise NotImplementedError

    async def _ends(self, error: Exception) -> None:
        """Raise `OutputEnded` if a write failed because the reader wants no more."""

    def _check(self) -> None:
        """Raise `UserError` if what was written is lost."""


class StdoutOutput(_RawOutput):
    """Standard output; messages are on standard error."""

    _name = "standard output"

    def _open(self) -> None:
        if sys.stdout is None:
            raise UserError("standard output is closed; pipe it into a program")
        if sys.stdout.isatty():
            raise UserError("standard output is a terminal; pipe it into a program")
        self._file = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
        log.info("raw images: rgb24, %d x %d, up to %d a second", *self._size, self._fps)

    async def _ends(self, error: Exception) -> None:
        """A player that was closed is a normal end."""
        if isinstance(error, BrokenPipeError):
            log.info("the reader of %s has ended; it got %d images", self._name, self._written)
            raise OutputEnded from error

    async def _close(self) -> None:
        """Leave the file to the end of the process: its reader may be slow."""


class FfmpegOutput(_RawOutput):
    """An `ffmpeg` process that reads the images and writes what its arguments say."""

    _name = "ffmpeg"
    _killed = _too_slow = False

    def _given(self) -> list[str]:
        """Arguments of the output."""
        if not self._arguments:
            raise UserError(
                "--out ffmpeg: give its output arguments last, such as --to -f flv rtmp://..."
            )
        return self._arguments

    def _open(self) -> None:
        given, program = self._given(), shutil.which("ffmpeg")
        if program is None:
            raise UserError(
                "ffmpeg is not on the PATH; install it (Debian: apt-get install ffmpeg)"
            )
        width, height = self._size
        command = [
            program, "-hide_banner", "-loglevel", "warning", "-nostdin", "-f", "rawvideo",
            "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}", "-framerate", str(self._fps),
            "-use_wallclock_as_timestamps", "1", "-i", "pipe:0", *given,
        ]  # fmt: skip
        self._folder = _folder_of(given[-1])
        # Its own session: Ctrl-C ends the images first, and ffmpeg then completes its file.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        self._file = self._process.stdin
        self._said = _Passed(self._process.stderr)

    async def _ends(self, error: Exception) -> None:
        """A process that has ended by itself is a normal end, unless its status is an error."""
        if not await self._ended(_SOON):
            log.info("%s completes its output", self._name)
            if not await self._ended(_LONG):
                return
        self._check()
        log.info("%s has ended; it got %d images", self._name, self._written)
        raise OutputEnded from error

    def _check(self) -> None:
        process = getattr(self, "_process", None)
        if self._too_slow:
            raise UserError(
                f"{self._name} did not complete its output in {_LONG:.0f} s, and what it wrote is "
                "incomplete; take a faster codec or preset"
            )
        if process is None or self._killed:
            return
        if process.returncode:
            last = self._said.last_line() or f"status {process.returncode}"
            raise UserError(f"{self._name} failed: {last}")
        if self._folder is not None and not self._folder.is_dir():
            raise UserError(
                f"{self._folder}: is gone, and what {self._name} wrote there is lost; keep the "
                "folder until the end"
            )

    async def _close(self) -> None:
        process = getattr(self, "_process", None)
        if process is None:
            return
        # An image that is being written keeps the file open; ending the process ends the write.
        self._thread.submit(self._file.close)
        if await self._ended(_SOON):
            return
        log.info("%s completes its output; Ctrl-C again ends it at once", self._name)
        if await self._ended(_LONG):
            return
        process.terminate()
        self._killed, self._too_slow, self._hurried = True, not self._hurried, False
        if not await self._ended(_TERMINATED):
            process.kill()
            self._hurried = False
            await self._ended(_TERMINATED)
        log.warning("%s was ended; what it wrote may be incomplete", self._name)

    async def _ended(self, seconds: float) -> bool:
        """Whether the process ends within a time, unless it is hurried."""
        last = time.monotonic() + seconds
        while self._process.poll() is None:
            if self._hurried or time.monotonic() > last:
                return False
            await asyncio.sleep(_LOOK)
        return True


class _Passed:
    """What a process says, passed on to standard error; its end is kept.

    Args:
        file: the reading end of the process's standard error.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._end = file, b""
        self._thread = threading.Thread(target=self._pass, name="ffmpeg", daemon=True)
        self._thread.start()

    def last_line(self) -> str:
        """Its last line that is not blank, as printable text."""
        self._thread.join(_SOON)
        lines = [line.strip() for line in self._end.decode(errors="replace").splitlines()]
        return shown(next((line for line in reversed(lines) if line), ""), _LONGEST_LINE)

    def _pass(self) -> None:
        with self._file:
            while data := os.read(self._file.fileno(), _KEPT):
                self._end = (self._end + data)[-_KEPT:]
                with contextlib.suppress(OSError):
                    os.write(2, data)


def _folder_of(last: str) -> Path | None:
    """Folder of the file that ffmpeg's last argument names; None if it names none."""
    folder = Path(last).parent
    return folder if os.path.isdir(folder) else None


class V4l2Output(FfmpegOutput):
    """A device of v4l2loopback, written by ffmpeg."""

    _name = "the video device"

    def _given(self) -> list[str]:
        device = self._arguments[0] if len(self._arguments) == 1 else ""
        if not device.startswith("/dev/video"):
            raise UserError(
                "--out v4l2: give the device of v4l2loopback last, such as --to /dev/video9"
            )
        if not os.access(device, os.W_OK):
            raise UserError(
                f"{shown(device)}: cannot be written; load v4l2loopback (docs/live.md says how)"
            )
        return ["-pix_fmt", "yuv420p", "-f", "v4l2", device]


class CameraOutput(_RawOutput):
    """A virtual camera of pyvirtualcam (v4l2loopback on Linux, OBS's on a Mac)."""

    _name = "the virtual camera"

    def encode(self, image: np.ndarray) -> Any:
        """The image itself."""
        return image

    def _open(self) -> None:
        try:
            import pyvirtualcam
        except ImportError as error:
            raise UserError(
                "pyvirtualcam is not installed: pip install pyvirtualcam, or use --out v4l2"
            ) from error
        width, height = self._size
        try:
            self._camera = pyvirtualcam.Camera(width, height, self._fps)
        except RuntimeError as error:
            raise UserError(f"no virtual camera ({one_line(error)}); docs/live.md") from error
        log.info("virtual camera: %s", self._camera.device)

    def _write(self, data: Any) -> None:
        self._camera.send(data)

    async def _close(self) -> None:
        camera = getattr(self, "_camera", None)
        if camera is not None:
            self._thread.submit(camera.close)
