"""What drives a live avatar: a performer's phone, a voice, or a motion file.

A source puts what arrives into its slot, and `pose` turns it into what is drawn. `pose` runs in the
drawing thread.
"""

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from headsplat.avatar import Avatar, moving_parts
from headsplat.drive.kinds import STILL, MotionOptions
from headsplat.drive.subject import DrivenSubject
from headsplat.live.driving import LiveDriver, Posed
from headsplat.live.options import InputOptions
from headsplat.live.performer import Performer
from headsplat.live.protocols import Protocol
from headsplat.live.receiver import Receiver
from headsplat.live.slot import Arrived, Slot

_CHUNK = 0.04  # seconds of sound that are read at once
_LATE = 0.25  # seconds after which a clock starts anew
_RATE = 16000  # Hz


class PhoneSource:
    """A performer whose phone sends a protocol over UDP; an asynchronous context manager.

    Args:
        protocol: that the phone speaks.
        options: of the input.
        performer: measures and smooths the frames.
        driver: of the avatar; None where nothing is drawn.
    """

    def __init__(
        self,
        protocol: Protocol,
        options: InputOptions,
        performer: Performer,
        driver: LiveDriver | None,
    ) -> None:
        port, phone = options.udp_port or None, options.phone or None
        self._receiver = Receiver(protocol, options.udp_host, port, phone)
        self.performer, self._driver, self.slot = performer, driver, self._receiver.slot

    @property
    def port(self) -> int:
        """UDP port that it listens on."""
        return self._receiver.port

    async def __aenter__(self) -> "PhoneSource":
        self._receiver.__enter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._receiver.__exit__()

    def pose(self, arrived: Arrived) -> Posed:
        """What to draw for a frame as it was received."""
        frame = self.performer.next(arrived.value, arrived.seconds)
        return self._driver.pose(frame, arrived.seconds)

    def report(self) -> str:
        """Packets so far."""
        return str(self._receiver.counts)

    def missing(self) -> str:
        """See `Receiver.missing`."""
        return self._receiver.missing()


class ClockedSource:
    """Poses that are due at a frame rate; the base of a voice and of a motion.

    Args:
        fps: frames a second.
    """

    def __init__(self, fps: float) -> None:
        self._fps, self.slot = fps, Slot()
        self._count, self._start = 0, 0.0
        self._task: asyncio.Task | None = None

    async def __aenter__(self) -> "ClockedSource":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    def pose(self, arrived: Arrived) -> Posed:
        """What to draw."""
        return arrived.value

    def report(self) -> str:
        """Frames so far."""
        return f"{self._count} frames"

    def missing(self) -> str:
        """Nothing: it waits for nobody."""
        return ""

    async def _run(self) -> None:
        try:
            await self._play()
        finally:
            self.slot.end()

    async def _play(self) -> None:
        raise NotImplementedError

    async def _show(self, posed: Posed) -> None:
        """Put a pose when it is due."""
        now = time.perf_counter()
        due = self._start + self._count / self._fps
        if now > due + _LATE:
            self._start, due = now - self._count / self._fps, now
        await asyncio.sleep(due - now)
        self.slot.put(Arrived(posed, time.perf_counter()))
        self._count += 1


class SpeakerSource(ClockedSource):
    """The avatar's learned voice on a sound: a file, or 16-bit samples from standard input.

    Args:
        avatar: the avatar, which has a voice.
        sound: a file; "-" reads 16 kHz mono, signed 16 bits, little-endian, from standard input.
        fps: of the avatar's clip.

    Raises:
        UserError: there is no voice, or the sound cannot be read.
    """

    def __init__(self, avatar: Avatar, sound: str, fps: float) -> None:
        super().__init__(fps)
        self._speaker = avatar.speaker()
        self._chunks = _standard_input() if sound == "-" else _file_chunks(Path(sound))

    async def _play(self) -> None:
        loop = asyncio.get_running_loop()
        while (chunk := await _next(self._chunks)) is not None:
            await self._show_all(await loop.run_in_executor(None, self._speaker.feed, chunk))
        await self._show_all(self._speaker.finish())

    async def _show_all(self, frames) -> None:
        """The frames of a batch, or of None, one after the other."""
        if frames is None:
            return
        for part in zip(*(value.split(1) for value in moving_parts(frames)), strict=True):
            await self._show(Posed(*part))


class MotionSource(ClockedSource):
    """A motion file, over and over.

    Args:
        path: the file.
        kind: a key of `KINDS`.
        avatar: the avatar.
        subject: of the avatar.
        options: of the input.

    Raises:
        UserError: as of `read_motion`.
    """

    def __init__(
        self, path: Path, kind: str, avatar: Avatar, subject: DrivenSubject, options: InputOptions
    ) -> None:
        super().__init__(subject.track.fps)
        # It imports PyAV, which a phone's motion does not need.
        from headsplat.drive.run import motion_frames, read_motion

        given = MotionOptions(**{"head_motion": STILL} if options.still else {})
        motion = read_motion(path, kind, subject, given).resample(self._fps)
        self._parts = motion_frames(avatar, subject, motion).moves(slice(None))

    async def _play(self) -> None:
        while True:
            for part in zip(*(value.split(1) for value in self._parts), strict=True):
                await self._show(Posed(*part))


async def _next(chunks: Iterator[np.ndarray]) -> np.ndarray | None:
    """The next chunk, or None.

    A thread of its own waits for it. The end of an event loop waits for its executor's threads, and
    an input that is silent would hold it.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[np.ndarray | None] = loop.create_future()

    def settle(chunk: np.ndarray | None, error: Exception | None) -> None:
        if found.done():  # cancelled meanwhile
            return
        if error is None:
            found.set_result(chunk)
        else:
            found.set_exception(error)

    def wait() -> None:
        chunk, error = None, None
        try:
            chunk = next(chunks, None)
        except Exception as caught:
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, chunk, error)

    threading.Thread(target=wait, name="sound", daemon=True).start()
    return await found


def _file_chunks(path: Path) -> Iterator[np.ndarray]:
    # Sound is decoded by PyAV, which nothing else here needs.
    from headsplat.speech.audio import read_speech

    samples, step = read_speech(path).samples, round(_CHUNK * _RATE)
    return iter([samples[k : k + step] for k in range(0, len(samples), step)])


def _standard_input() -> Iterator[np.ndarray]:
    """Chunks until the input ends; an odd last byte is left out."""
    file, rest = sys.stdin.fileno(), b""
    while data := os.read(file, 2 * round(_CHUNK * _RATE)):
        data = rest + data
        whole = len(data) // 2 * 2
        rest = data[whole:]
        yield np.frombuffer(data[:whole], "<i2").astype(np.float32) / 32768
