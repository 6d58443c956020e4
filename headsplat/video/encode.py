"""Deterministic encoding of images and sound to a video: equal bytes for equal input."""

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
from headsplat.video.formats import AAC, BITEXACT, FORMATS, MP4, SoundFormat, VideoFormat, suffix_of

# x264's output depends on the number of threads, so the number is fixed.
ENCODER_THREADS = 2


class VideoWriter:
    """Context manager that writes images and sound to a video, published when complete.

    Images have BT.709 tags. An odd last row or column is repeated where the format needs even
    sizes. The sound starts with the first image and is cut or padded with silence. The bytes do
    not depend on the date, the number of cores or the library's build.

    Args:
        path: the video to write; its suffix chooses one of `headsplat.video.formats.FORMATS`.
        width, height: size of the images in pixels.
        fps: frame rate, exact.
        audio: None, or (samples (n,) or (n, 1|2) in [-1, 1], sample rate in Hz).
        crf: x264's constant rate factor; lower means better quality and a larger file.
        quick: x264's preset `veryfast` instead of `medium`: half the time.

    Raises:
        UserError: the suffix is of none of the formats.
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
        suffix = suffix_of(path)
        self._format, self._fps = FORMATS[suffix], Fraction(fps)
        self._options = dict(self._format.options)
        if suffix == MP4:
            self._options |= {"crf": str(crf), "preset": "veryfast" if quick else "medium"}
        self._count = 0
        sound = self._format.sound
        self._sound = None if audio is None or sound is None else SoundTrack(*audio, sound)
        self._stack = ExitStack()

    def __enter__(self) -> "VideoWriter":
        with ExitStack() as stack:
            temporary = stack.enter_context(publish(self._path))
            self._file = stack.enter_context(open_output(temporary, self._format))
            stream = self._file.add_stream(self._format.codec, rate=self._fps)
            stream.width, stream.height = self._padded()
            stream.pix_fmt = self._format.pixels
            stream.options = {**self._options, "flags": BITEXACT}
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

    def _padded(self) -> tuple[int, int]:
        """Width and height in the file."""
        odd = int(self._format.even)
        return self._width + odd * (self._width % 2), self._height + odd * (self._height % 2)

    def write(self, image: np.ndarray) -> None:
        """Append one image, uint8 (H, W, 3) RGB; (H, W, 4) with straight alpha where it is kept."""
        channels = 4 if self._format.alpha else 3
        if image.shape != (self._height, self._width, channels) or image.dtype != np.uint8:
            raise ValueError(
                f"image {image.shape} {image.dtype}, expected uint8 of "
                f"{self._height} x {self._width} x {channels}"
            )
        width, height = self._padded()
        if (width, height) != (self._width, self._height):
            more = ((0, height - self._height), (0, width - self._width), (0, 0))
            image = np.pad(image, more, mode="edge")
        given = "rgba" if self._format.alpha else "rgb24"
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format=given)
        frame = frame.reformat(
            format=self._format.pixels,
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


def open_output(path: Path, kind: VideoFormat) -> av.container.OutputContainer:
    """Open a file to write; its bytes will not hold the date or the library's version."""
    options = {"fflags": BITEXACT, **kind.muxer}
    # The prefix keeps FFmpeg from parsing the name as a URL.
    return av.open(f"file:{path}", "w", format=kind.container, options=options)


class SoundTrack:
    """Encoder of a video's sound, written in blocks that are interleaved with the images."""

    def __init__(self, samples: np.ndarray, rate: int, kind: SoundFormat = AAC) -> None:
        samples = np.asarray(samples, np.float32)
        if samples.ndim == 1:
            samples = samples[:, None]
        if samples.ndim != 2 or samples.shape[1] not in (1, 2):
            raise ValueError(f"sound of shape {samples.shape}, expected (n,), (n, 1) or (n, 2)")
        if rate not in kind.rates:
            target = min((r for r in kind.rates if r >= rate), default=kind.rates[0])
            samples, rate = _resample(samples, rate, target), target
        self._kind, self._samples, self._rate = kind, samples, rate
        self._layout = "mono" if samples.shape[1] == 1 else "stereo"
        self._done = 0

    def open(self, file: av.container.OutputContainer) -> None:
        """Add the stream to a file, after its video stream."""
        self._file = file
        self._stream = file.add_stream(self._kind.codec, rate=self._rate, layout=self._layout)
        self._stream.options = {"flags": "+bitexact"}
        self._stream.bit_rate = 128_000
        self._stream.codec_context.thread_count = 1

    def write_until(self, seconds: Fraction) -> None:
        """Encode all complete blocks that end before `seconds`."""
        while (self._done + self._kind.block) <= seconds * self._rate:
            self._encode(self._kind.block)

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
        planar = self._kind.samples.endswith("p")
        block = block.T if planar else block.reshape(1, -1)
        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(block), format=self._kind.samples, layout=self._layout
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
