"""Outputs that take raw images: an ffmpeg process, a video device, stdout, a virtual camera."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import numpy as np

from headsplat.live.options import OutputOptions
from headsplat.live.slot import Latency
from headsplat.runtime.errors import UserError, one_line, shown
from headsplat.runtime.logs import log

_SOON, _LONG = 1.0, 60.0  # seconds for ffmpeg to complete its output: until a line says so, at most
_TERMINATED = 2.0  # seconds for it to end after a signal
_LOOK = 0.02  # seconds between looks whether it has ended


class _RawOutput:
    """Writes RGB images from a thread of its own, so that a slow reader delays no packet."""

    def __init__(
        self, options: OutputOptions, size: tuple[int, int], arguments: Sequence[str]
    ) -> None:
        self._fps, self._size, self._arguments = options.fps, size, list(arguments)
        self.latency = Latency()
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
            raise UserError(f"{self._name} takes no more images ({one_line(error)})") from error
        if arrived is not None:
            self.latency.add(arrived)

    async def __aenter__(self) -> "_RawOutput":
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    _name = ""
    _file: BinaryIO

    def _open(self) -> None:
        raise NotImplementedError

    def _write(self, data: Any) -> None:
        self._file.write(data)
        self._file.flush()

    async def _close(self) -> None:
        raise NotImplementedError


class StdoutOutput(_RawOutput):
    """Standard output; messages are on standard error."""

    _name = "standard output"

    def _open(self) -> None:
        if sys.stdout.isatty():
            raise UserError("standard output is a terminal; pipe it into a program")
        self._file = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
        log.info("raw images: rgb24, %d x %d, up to %d a second", *self._size, self._fps)

    async def _close(self) -> None:
        """Leave the file to the end of the process: its reader may be slow."""


class FfmpegOutput(_RawOutput):
    """An `ffmpeg` process that reads the images and writes what its arguments say."""

    _name = "ffmpeg"

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
        # Its own session: Ctrl-C ends the images first, and ffmpeg then completes its file.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        self._file = self._process.stdin

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
        self._hurried = False
        if await self._ended(_TERMINATED):
            return
        process.kill()
        self._hurried = False
        await self._ended(_TERMINATED)
        log.warning("%s was killed; what it wrote is incomplete", self._name)

    async def _ended(self, seconds: float) -> bool:
        """Whether the process ends within a time, unless it is hurried."""
        last = time.monotonic() + seconds
        while self._process.poll() is None:
            if self._hurried or time.monotonic() > last:
                return False
            await asyncio.sleep(_LOOK)
        return True


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
