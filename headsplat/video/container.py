"""Safe opening of untrusted video and sound files: known formats only, no external references."""

import os
import re
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from headsplat.runtime.errors import UserError
from headsplat.runtime.regular import open_regular

# Bound on the pixels of an image, which limits the memory of a decoder's frames.
MAX_PIXELS = 1 << 26
# Containers and raw streams. Playlists, image sequences and devices are excluded, because they
# read other files or no file.
FORMATS = (
    "aac,ac3,aiff,amr,apng,asf,asf_o,au,av1,avi,caf,dnxhd,dts,dv,eac3,flac,flv,gif,gxf,h261,h263,h264,"
    "hevc,ivf,live_flv,m4v,matroska,mjpeg,mov,mp3,mpeg,mpegts,mpegtsraw,mpegvideo,mxf,nsv,nut,obu,"
    "ogg,rm,tta,vc1,vvc,w64,wav,webm,wtv,wv"
)
# Raw streams have no time stamps; for some of them FFmpeg invents 25 images per second.
BARE = ("av1", "dnxhd", "h261", "h263", "h264", "hevc", "mjpeg", "obu", "vc1", "vvc")
STILL_IMAGES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


@contextmanager
def open_media(path: Path | str, sound: bool = False) -> Iterator[InputContainer]:
    """Open a video or sound file for reading.

    FFmpeg gets an open file, not a name, so a name is never interpreted as a URL, a pattern or a
    device. References to other files are not followed.

    Args:
        path: the file.
        sound: whether it is opened for its sound; changes the error messages only.

    Raises:
        UserError: no such file, not a regular file, empty, or of an unknown format.
    """
    with _open_file(path) as file:
        try:
            container = av.open(
                _Named(file, path),
                metadata_errors="replace",
                options={"max_pixels": str(MAX_PIXELS)},
                container_options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
                io_open=_refuse,
            )
        except (OSError, av.error.FFmpegError) as error:
            if sound:
                problem = f"the sound cannot be read ({error.strerror}); give a playable file"
            else:
                problem = (
                    "not a video that can be opened, or cut off before its index "
                    f"({error.strerror}); give a complete mp4, mov, mkv or webm file"
                )
            raise UserError(f"{path}: {problem}") from error
        with container:
            yield container


def _open_file(path: Path | str) -> BinaryIO:
    try:
        file = open_regular(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; check its path") from error
    except OSError as error:
        raise UserError(
            f"{path}: cannot be opened ({error.strerror}); give a readable video or sound file"
        ) from error
    if os.fstat(file.fileno()).st_size == 0:
        file.close()
        raise UserError(f"{path}: the file is empty; copy it again")
    return file


class _Named:
    """A file object with a neutral name, whose suffix FFmpeg uses as a hint of the format."""

    def __init__(self, file: BinaryIO, path: Path | str) -> None:
        suffix = Path(path).suffix.lower()
        self.name = "file" + (suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else "")
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def _refuse(url: str, flags: int, options: dict[str, str]) -> BinaryIO:
    raise PermissionError(1, "a video file may not name other files", url)


def main_video(container: InputContainer, path: Path | str) -> VideoStream:
    """The decodable video stream with the largest images; of equal ones the first.

    Cover images, thumbnails, and streams with less than half the images of another are ignored.

    Raises:
        UserError: there is none, it has no decoder, or its images are too large.
    """
    streams = [s for s in container.streams.video if not s.disposition & STILL_IMAGES]
    if not streams:
        raise UserError(f"{path}: the file has no video stream; give a video file")
    known = [s for s in streams if s.codec_context is not None]
    if not known:
        raise UserError(
            f"{path}: no decoder knows the format of its images; convert it to H.264 or H.265"
        )
    if len(known) > 1:
        counts = _counts(path)
        most = max(counts.values(), default=0)
        known = [s for s in known if 2 * counts[s.index] >= most]
    stream = max(known, key=lambda s: s.codec_context.width * s.codec_context.height)
    context = stream.codec_context
    if context.width * context.height > MAX_PIXELS:
        raise UserError(
            f"{path}: declares images of {context.width} x {context.height} pixels; at most "
            f"{MAX_PIXELS >> 20} megapixels can be read; give a smaller video"
        )
    return stream


def _counts(path: Path | str) -> Counter[int]:
    """Number of packets of each video stream."""
    with open_media(path) as container:
        shown = (p for p in packets(container, *container.streams.video) if p.size)
        return Counter(packet.stream.index for packet in shown)


def count_videos(path: Path | str) -> int:
    """Number of mp4 or mov files concatenated in a file, of which only the first is read."""
    count = 0
    with open_regular(path) as file:
        end = file.seek(0, os.SEEK_END)
        place = 0
        while 0 <= place <= end - 8:
            file.seek(place)
            size, kind = struct.unpack(">I4s", file.read(8))
            count += kind == b"moov"
            if size == 1:  # ISO 14496-12: a long size follows
                size = int.from_bytes(file.read(8), "big")
            if size < 8:
                break
            place += size
    return count


def packets(container: InputContainer, *streams: Stream) -> Iterator[Packet]:
    """Packets of `streams` up to the end of the file, or to where a truncated file ends.

    PyAV raises IndexError after the last packet if a stream begins in the middle of the file.
    """
    iterator = container.demux(*streams)
    while True:
        try:
            packet = next(iterator)
        except (StopIteration, IndexError, av.error.FFmpegError):
            return
        yield packet
