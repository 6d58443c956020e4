"""Decoding of the images of some ids, bit-equal to a pass over the whole video."""

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
from headsplat.video.info import VideoInfo
from headsplat.video.interlace import Decoded, deinterlaced
from headsplat.video.shown import ImageMaker, Shapes

TRIES = 8  # key frames to start at, before decoding from the start of the file


@contextmanager
def open_video(
    path: Path | str, threads: int, strict: bool = False
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video and its main video stream.

    Args:
        path: the file.
        threads: of the decoder; the images of an intact stream do not depend on it.
        strict: report damaged images instead of painting them over with their neighbors.
            Only for a pass from the start: after a seek into an open group, the references
            that are missing by design count as damage too.

    Raises:
        UserError: the file is missing, is no video, or has no video stream.
    """
    with open_media(path) as container:
        stream = main_video(container, path)
        stream.thread_type, stream.codec_context.thread_count = "AUTO", threads
        options = {"max_pixels": str(MAX_PIXELS)}
        stream.codec_context.options = options | ({"err_detect": "explode"} if strict else {})
        yield container, stream


def is_end(packet: Packet) -> bool:
    """Whether a packet only says that the file has ended."""
    return packet.size == 0 and packet.pts is None and packet.dts is None


def checksum(packet: Packet) -> int:
    """CRC-32 of what a packet holds."""
    return zlib.crc32(bytes(packet))


def decode_packet(packet: Packet, number: int) -> list[VideoFrame]:
    """Intact images that come out of the decoder with this packet, in display order.

    Time stamps may be missing, repeated or wrong, so the number of the packet takes their place:
    the `pts` of each image is the number of the packet that it was stored in. A damaged packet
    gives no image.

    Args:
        packet: to decode; its time stamps are overwritten.
        number: of the packet among those of its stream, from 0.
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

    Seeks to the last key frame at or before the first needed image and decodes until the
    last one; holds one image at a time. Ids that share a source image share the array.
    Without `fine`, color edges are as coarse as the stored color planes, and decoding of
    large images is several times faster.

    Raises:
        UserError: the file is not the one that was probed.
    """
    if not Path(path).is_file() or Path(path).stat().st_size != info.bytes:
        raise UserError(
            f"{path}: missing or changed since it was probed; the "
            "same command goes on with what is there"
        )
    if first >= stop:
        return
    frame_id = first
    # With several threads, a damaged stream may decode differently from run to run.
    threads = 1 if info.n_undecodable else available_threads()
    with open_video(path, threads) as (container, stream):
        make = ImageMaker(
            info.width,
            info.height,
            stream.sample_aspect_ratio,
            fine,
            Colors.of(stream.codec_context, Colors()),
        )
        start = info.images[first - 1]
        if info.fields:
            # The earlier neighbor counts too.
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

    Tries the last key frame before it, then earlier ones, at last the start of the file:
    containers index by decoding time, so a seek may land late, and streams that refresh in
    slices are whole only some images after their key frame. Where a seek landed is known by
    the content of the key frame and its place in the file, because time stamps may repeat.
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
    # Seeking to the start is not sure to reach the first packet; opening anew is.
    with open_video(path, threads) as (container, stream):
        yield from _decode(enumerate(packets(container, stream)), order)


def _decode(source: Iterable[tuple[int, Packet]], order: dict[int, int]) -> Iterator[Decoded]:
    shapes = Shapes()
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
    """(number, packet) from the first known key frame on; none if that comes after `start`.

    Images that follow an open key frame in the file but are shown before it are left out: they
    need the previous group, which is not there after a seek, and nothing later refers to them.
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
