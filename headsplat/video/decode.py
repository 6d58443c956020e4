"""Random access decoding of frames, bit-equal to decoding the whole video."""

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from headsplat.runtime.errors import UserError
from headsplat.runtime.process import available_threads
from headsplat.video.color import Colors
from headsplat.video.container import MAX_PIXELS, main_video, open_media, packets
from headsplat.video.display import ShapeReader, UprightConverter
from headsplat.video.info import VideoInfo
from headsplat.video.interlace import Decoded, deinterlaced

TRIES = 8  # key frames to try before decoding from the start of the file


@contextmanager
def open_video(
    path: Path | str, threads: int, strict: bool = False
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video and its main video stream.

    Args:
        path: the file.
        threads: threads of the decoder; the images of an intact stream do not depend on it.
        strict: report damaged images instead of concealing errors with neighboring images. Only
            for decoding from the start: after a seek into an open GOP, references that are
            missing by design count as damage too.

    Raises:
        UserError: the file is missing, is not a video, or has no video stream.
    """
    with open_media(path) as container:
        stream = main_video(container, path)
        stream.thread_type, stream.codec_context.thread_count = "AUTO", threads
        options = {"max_pixels": str(MAX_PIXELS)}
        stream.codec_context.options = options | ({"err_detect": "explode"} if strict else {})
        yield container, stream


def is_end(packet: Packet) -> bool:
    """Whether a packet is PyAV's empty packet at the end of a file."""
    return packet.size == 0 and packet.pts is None and packet.dts is None


def checksum(packet: Packet) -> int:
    """CRC-32 of a packet's content."""
    return zlib.crc32(bytes(packet))


def decode_packet(packet: Packet, number: int) -> list[VideoFrame]:
    """Decode a packet; returns the intact images that the decoder outputs, in display order.

    Time stamps may be missing, repeated or wrong, so they are replaced by packet numbers: the
    `pts` of an image is the number of the packet that contains it. A damaged packet gives no image.

    Args:
        packet: the packet; its time stamps are overwritten.
        number: number of the packet in its stream, from 0.
    """
    if not is_end(packet):
        packet.pts = packet.dts = number
    try:
        frames = packet.decode()
    except av.error.FFmpegError:
        return []
    return [frame for frame in frames if frame.pts is not None and not frame.is_corrupt]


def read_images(
    path: Path | str, info: VideoInfo, first: int, stop: int, fine: bool = True
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (id, upright RGB uint8 (H, W, 3)) for ids first .. stop - 1.

    Seeks to the last key frame at or before the first needed image, and keeps one image in memory.
    Ids with the same source image share the array.

    Args:
        path: the video.
        info: its `video.json`.
        first: first id, from 1.
        stop: last id plus 1.
        fine: interpolate subsampled chroma; several times slower for large images.

    Raises:
        UserError: the file is not the one that was probed.
    """
    if not Path(path).is_file() or Path(path).stat().st_size != info.bytes:
        raise UserError(
            f"{path}: missing or changed since it was probed; the "
            "same command continues with the file as it is"
        )
    if first >= stop:
        return
    frame_id = first
    # With several threads a damaged stream may decode differently in each run.
    threads = 1 if info.n_undecodable else available_threads()
    with open_video(path, threads) as (container, stream):
        make = UprightConverter(
            info.width,
            info.height,
            stream.sample_aspect_ratio,
            fine,
            Colors.of(stream.codec_context, Colors()),
        )
        start = info.images[first - 1]
        if info.fields:
            # Deinterlacing an image needs the previous image too.
            frames = _frames_from(path, threads, container, stream, info, max(0, start - 1))
            frames = deinterlaced(frames, info.fields)
        else:
            frames = _frames_from(path, threads, container, stream, info, start)
        for index, shape, frame in frames:
            wanted = info.images[frame_id - 1]
            if index < wanted:
                continue
            if index > wanted:
                break
            image = make(frame, shape)
            while frame_id < stop and info.images[frame_id - 1] == index:
                yield frame_id, image
                frame_id += 1
            if frame_id == stop:
                return
    raise UserError(
        f"{path}: frame {frame_id} at time stamp {info.pts[frame_id - 1]} does not decode as it "
        "did when probed; touch the video, and the same command probes it again"
    )


def _frames_from(
    path: Path | str,
    threads: int,
    container: InputContainer,
    stream: VideoStream,
    info: VideoInfo,
    start: int,
) -> Iterator[Decoded]:
    """The decodable source images from number `start` on.

    Tries the last key frame before it, then earlier ones, then the start of the file. Containers
    index by decoding time, so a seek may land late. Streams with intra refresh are complete only
    some images after a key frame. The key frame after a seek is identified by its content and its
    position in the file, because time stamps may repeat.
    """
    order = {packet: image for image, packet in enumerate(info.packets)}
    known = {(place, content): packet for packet, _, place, content in info.keyframes}
    before = [key for key in info.keyframes if order[key[0]] <= start]
    moved = False
    for _, stamp, _, _ in reversed(before[1:][-TRIES:]):
        moved = True
        try:
            container.seek(stamp, stream=stream, backward=True)
        except av.error.FFmpegError:
            break
        frames = _decode(_from_key_frame(packets(container, stream), known, order, start), order)
        first = next((decoded for decoded in frames if decoded[0] >= start), None)
        if first is not None and first[0] == start:
            return chain([first], frames)
    if moved:
        return _from_the_start(path, threads, order)
    return _decode(enumerate(packets(container, stream)), order)


def _from_the_start(path: Path | str, threads: int, order: dict[int, int]) -> Iterator[Decoded]:
    # A seek to the start may miss the first packet, so the file is opened again.
    with open_video(path, threads) as (container, stream):
        yield from _decode(enumerate(packets(container, stream)), order)


def _decode(source: Iterable[tuple[int, Packet]], order: dict[int, int]) -> Iterator[Decoded]:
    shapes = ShapeReader()
    for number, packet in source:
        for frame in decode_packet(packet, number):
            if frame.pts in order:
                yield order[frame.pts], shapes.of(frame), frame


def _from_key_frame(
    source: Iterator[Packet],
    known: dict[tuple[int, int], int],
    order: dict[int, int],
    start: int,
) -> Iterator[tuple[int, Packet]]:
    """(number, packet) from the first known key frame on; nothing if that comes after `start`.

    Leading images, which follow an open GOP's key frame in the file but are shown before it, are
    skipped. They need the previous GOP, which is missing after a seek, and are not references.
    """
    for packet in source:
        if not packet.is_keyframe:
            continue
        number = known.get((packet.pos or 0, checksum(packet)))
        if number is not None:
            key = order[number]
            if key <= start:
                yield number, packet
                rest = enumerate(source, number + 1)
                yield from ((n, other) for n, other in rest if order.get(n, key) >= key)
            return
