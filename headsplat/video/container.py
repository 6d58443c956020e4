"""Opening of video and sound files: what lies in a file, and nothing that it points to."""

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

# An image of more pixels is no video of a person, and would not fit into memory many times.
MAX_PIXELS = 1 << 26
# Containers and bare streams. Playlists, image sequences and devices are not among them, because
# they read other files, or none.
FORMATS = (
    "aac,ac3,aiff,amr,apng,asf,asf_o,au,av1,avi,caf,dnxhd,dts,dv,eac3,flac,flv,gif,gxf,h261,h263,h264,"
    "hevc,ivf,live_flv,m4v,matroska,mjpeg,mov,mp3,mpeg,mpegts,mpegtsraw,mpegvideo,mxf,nsv,nut,obu,"
    "ogg,rm,tta,vc1,vvc,w64,wav,webm,wtv,wv"
)
# Streams without a container have no time stamps; FFmpeg makes up 25 images a second for some.
BARE = ("av1", "dnxhd", "h261", "h263", "h264", "hevc", "mjpeg", "obu", "vc1", "vvc")
NOT_SHOWN = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


@contextmanager
def open_media(path: Path | str, sound: bool = False) -> Iterator[InputContainer]:
    """Open a video or sound file for reading, whatever its name looks like.

    FFmpeg gets the opened file, not its name, so that a name is never taken for an address, a
    pattern or a device, and files that name other files are not followed.

    Args:
        path: the file.
        sound: it is opened for its sound; for messages only.

    Raises:
        UserError: no such file, not a regular file, an empty one, or of no known format.
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
    """A file whose name tells FFmpeg its suffix only: one of the hints of what is in it."""

    def __init__(self, file: BinaryIO, path: Path | str) -> None:
        suffix = Path(path).suffix.lower()
        self.name = "file" + (suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else "")
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def _refuse(url: str, flags: int, options: dict[str, str]) -> BinaryIO:
    raise PermissionError(1, "a video file may not name other files", url)


def main_video(container: InputContainer, path: Path | str) -> VideoStream:
    """The largest video stream that can be decoded; of equal ones the first.

    Cover images, thumbnails and streams of far fewer images than another do not count.

    Raises:
        UserError: there is none, it has no decoder, or its images are too large.
    """
    streams = [s for s in container.streams.video if not s.disposition & NOT_SHOWN]
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
            f"{path}: says that its images have {context.width} x {context.height} pixels; at most "
            f"{MAX_PIXELS >> 20} megapixels can be read; give a smaller video"
        )
    return stream


def _counts(path: Path | str) -> Counter[int]:
    """Number of packets of each video stream."""
    with open_media(path) as container:
        shown = (p for p in packets(container, *container.streams.video) if p.size)
        return Counter(packet.stream.index for packet in shown)


def count_videos(path: Path | str) -> int:
    """How many mp4 or mov files lie in a file one behind the other; the first alone is read."""
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
    """Packets of `streams` up to the end of the file, or to where a cut-off file stops.

    Streams that begin in the middle of the file make PyAV fail behind its last packet.
    """
    iterator = container.demux(*streams)
    while True:
        try:
            packet = next(iterator)
        except (StopIteration, IndexError, av.error.FFmpegError):
            return
        yield packet
