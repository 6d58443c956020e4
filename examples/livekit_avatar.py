"""An avatar for LiveKit's voice agents, on your own machine.

    pip install livekit-agents
    from livekit_avatar import AvatarVideo

    video = AvatarVideo("results/anna/avatar")
    audio = QueueAudioOutput(sample_rate=video.options.audio_sample_rate)
    runner = AvatarRunner(room, audio_recv=audio, video_gen=video, options=video.options)
    await runner.start()
    session.output.audio = audio  # of the AgentSession, before session.start()

The agent's speech comes in, and images with the same sound go out. Without speech the avatar looks
on. When the user interrupts, what was not shown yet is left out.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable

import numpy as np
from livekit import rtc
from livekit.agents.voice.avatar import AudioSegmentEnd, AvatarOptions, VideoGenerator

import headsplat
from headsplat.live.spoken import Shown, SpokenStream

_QUEUED = 100  # frames of sound that may wait; then the agent waits


class AvatarVideo(VideoGenerator):
    """Generates video from an agent's speech, as LiveKit's `AvatarRunner` takes it.

    Args:
        folder: of an avatar that has learned a voice.
        rate: of the agent's speech, Hz.
        height: of the images in pixels; 0 for the clip's.

    Attributes:
        options: for `AvatarRunner`.
    """

    def __init__(self, folder: str, rate: int = 24000, height: int = 0) -> None:
        self._stream = SpokenStream(headsplat.load_avatar(folder), rate, height)
        self._queue: asyncio.Queue[rtc.AudioFrame | AudioSegmentEnd] = asyncio.Queue(_QUEUED)
        self._interrupted = False
        self.options = AvatarOptions(
            video_width=self._stream.width,
            video_height=self._stream.height,
            video_fps=self._stream.fps,
            audio_sample_rate=rate,
            audio_channels=1,
        )

    async def push_audio(self, frame: rtc.AudioFrame | AudioSegmentEnd) -> None:
        """Take a piece of the agent's speech; its rate is that of `options`."""
        if isinstance(frame, rtc.AudioFrame) and frame.sample_rate != self._stream.rate:
            raise ValueError(f"sound of {frame.sample_rate} Hz, expected {self._stream.rate}")
        await self._queue.put(frame)

    def clear_buffer(self) -> None:
        """Leave out what was not shown yet."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._interrupted = True

    async def __aiter__(self) -> AsyncIterator[rtc.VideoFrame | rtc.AudioFrame | AudioSegmentEnd]:
        """Images and their sound, endlessly; the reader sets the pace."""
        while True:
            if self._interrupted:
                self._interrupted = False
                self._stream.forget()
            ended = False
            if self._queue.empty():
                made = self._stream.wait()
            else:
                given = self._queue.get_nowait()
                ended = isinstance(given, AudioSegmentEnd)
                made = self._stream.flush() if ended else self._stream.say(_samples(given))
            for shown in await asyncio.to_thread(list, made):
                for frame in self._frames(shown):
                    yield frame
            if ended:
                yield AudioSegmentEnd()

    def _frames(self, shown: Shown) -> Iterable[rtc.VideoFrame | rtc.AudioFrame]:
        size = self._stream.width, self._stream.height
        yield rtc.VideoFrame(*size, rtc.VideoBufferType.RGB24, shown.image.tobytes())
        if shown.sound is not None:
            count = len(shown.sound)
            yield rtc.AudioFrame(shown.sound.tobytes(), self._stream.rate, 1, count)


def _samples(frame: rtc.AudioFrame) -> np.ndarray:
    """(n,) int16, channels averaged."""
    samples = np.frombuffer(frame.data, np.int16).reshape(-1, frame.num_channels)
    return samples.mean(1).astype(np.int16)
