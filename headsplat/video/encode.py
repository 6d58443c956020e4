"""Deterministic mp4 encoding: H.264 video and AAC sound, equal bytes for equal input."""

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from headsplat.runtime.files import publish

AAC_BLOCK = 1024  # samples per AAC packet
# Lower rates are resampled: a block of theirs lasts longer than an image, so the sound would.
AAC_RATES = (96000, 88200, 64000, 48000, 44100)
# x264's output depends on the number of threads, so the number is fixed.
ENCODER_THREADS = 2
# x264's macroblock tree is not deterministic for widths such as 96, 320 or 528.
REPEATABLE = {"x264-params": "mbtree=0"}
MP4_OPTIONS = {"fflags": "+bitexact", "movflags": "+faststart"}


class VideoWriter:
    """Context manager that writes RGB images and sound to an mp4, published when complete.

    Images are encoded as yuv420p with BT.709 tags. An odd last row or column is repeated, because
    yuv420p needs even sizes. The sound starts with the first image and is cut or padded with
    silence. The bytes do not depend on the date, the number of cores or the library's build.

    Args:
        path: the mp4 to write.
        width, height: size of the images in pixels.
        fps: frame rate, exact.
        audio: None, or (samples (n,) or (n, 1|2) in [-1, 1], sample rate in Hz).
        crf: x264's constant rate factor; lower means better quality and a larger file.
        quick: x264's preset `veryfast` instead of `medium`: half the time.

    Raises:
        ValueError: sound that is neither mono nor stereo, or an image of another size.
    """

    def __init__(
        self,
        path: Path | str,
        width: int,
        height: int,
        fps: Fraction | int,
        audio: tuple[np.ndarray, int] | None = None,
        crf: int = 16,
        quick: bool = False,
    ) -> None:
        self._path, self._width, self._height = Path(path), width, height
        self._fps, self._crf, self._quick = Fraction(fps), crf, quick
        self._count = 0
        self._sound = None if audio is None else SoundTrack(*audio)
        self._stack = ExitStack()

    def __enter__(self) -> "VideoWriter":
        with ExitStack() as stack:
            temporary = stack.enter_context(publish(self._path))
            self._file = stack.enter_context(
                av.open(
                    f"file:{temporary}",  # the prefix keeps FFmpeg from parsing the name as a URL
                    "w",
                    format="mp4",
                    options=MP4_OPTIONS,
                )
            )
            stream = self._file.add_stream("libx264", rate=self._fps)
            stream.width, stream.height = (
                self._width + self._width % 2,
                self._height + self._height % 2,
            )
            stream.pix_fmt = "yuv420p"
            preset = "veryfast" if self._quick else "medium"
            stream.options = {"crf": str(self._crf), "preset": preset, "flags": "+bitexact"}
            stream.options |= REPEATABLE
            context = stream.codec_context
            context.thread_count = ENCODER_THREADS
            context.time_base = 1 / self._fps
            context.colorspace = Colorspace.ITU709
            context.color_primaries = ColorPrimaries.BT709
            context.color_trc = ColorTrc.BT709
            context.color_range = ColorRange.MPEG
            self._stream = stream
            if self._sound:
                self._sound.open(self._file)
            self._stack = stack.pop_all()
        return self

    def write(self, rgb: np.ndarray) -> None:
        """Append one image, uint8 (H, W, 3)."""
        if rgb.shape != (self._height, self._width, 3) or rgb.dtype != np.uint8:
            raise ValueError(
                f"image {rgb.shape} {rgb.dtype}, expected uint8 of "
                f"{self._height} x {self._width} x 3"
            )
        if self._height % 2 or self._width % 2:
            rgb = np.pad(rgb, ((0, self._height % 2), (0, self._width % 2), (0, 0)), mode="edge")
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame = frame.reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            dst_color_trc=ColorTrc.BT709,
            dst_color_primaries=ColorPrimaries.BT709,
        )
        frame.pts, frame.time_base = self._count, 1 / self._fps
        self._count += 1
        self._file.mux(self._stream.encode(frame))
        if self._sound:
            self._sound.write_until(self._count / self._fps)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            if error is not None:
                # Raised inside the stack, so that `publish` removes the temporary file.
                raise error.with_traceback(trace)
            self._file.mux(self._stream.encode(None))
            if self._sound:
                self._sound.finish(self._count / self._fps)


class SoundTrack:
    """AAC encoder of a video's sound, written in blocks that are interleaved with the images."""

    def __init__(self, samples: np.ndarray, rate: int) -> None:
        samples = np.asarray(samples, np.float32)
        if samples.ndim == 1:
            samples = samples[:, None]
        if samples.ndim != 2 or samples.shape[1] not in (1, 2):
            raise ValueError(f"sound of shape {samples.shape}, expected (n,), (n, 1) or (n, 2)")
        if rate not in AAC_RATES:
            target = min((r for r in AAC_RATES if r >= rate), default=AAC_RATES[0])
            samples, rate = _resample(samples, rate, target), target
        self._samples, self._rate = samples, rate
        self._layout = "mono" if samples.shape[1] == 1 else "stereo"
        self._done = 0

    def open(self, file: av.container.OutputContainer) -> None:
        """Add the stream to a file, after its video stream."""
        self._file = file
        self._stream = file.add_stream("aac", rate=self._rate, layout=self._layout)
        self._stream.options = {"flags": "+bitexact"}
        self._stream.bit_rate = 128_000
        self._stream.codec_context.thread_count = 1

    def write_until(self, seconds: Fraction) -> None:
        """Encode all complete blocks that end before `seconds`."""
        while (self._done + AAC_BLOCK) <= seconds * self._rate:
            self._encode(AAC_BLOCK)

    def finish(self, seconds: Fraction) -> None:
        """Encode the rest up to `seconds`, the duration of the images."""
        self.write_until(seconds)
        rest = round(seconds * self._rate) - self._done
        if rest > 0:
            self._encode(rest)
        self._file.mux(self._stream.encode(None))

    def _encode(self, count: int) -> None:
        block = self._samples[self._done : self._done + count]
        block = np.clip(np.pad(block, ((0, count - len(block)), (0, 0))), -1, 1)
        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(block.T), format="fltp", layout=self._layout
        )
        frame.sample_rate, frame.pts, frame.time_base = (
            self._rate,
            self._done,
            Fraction(1, self._rate),
        )
        self._done += count
        self._file.mux(self._stream.encode(frame))


def _resample(samples: np.ndarray, rate: int, target: int) -> np.ndarray:
    """Resample (n, c) sound to `target` Hz."""
    layout = "mono" if samples.shape[1] == 1 else "stereo"
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=target)
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    parts = [part.to_ndarray() for part in (*resampler.resample(frame), *resampler.resample(None))]
    return np.concatenate(parts, axis=1).T
