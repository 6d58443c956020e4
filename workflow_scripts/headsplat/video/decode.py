"""Decoding of the pictures of some ids, bit-equal to a pass over the whole video."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from headsplat.cli import available_threads
from headsplat.errors import UserError
from headsplat.video.colour import RgbConverter
from headsplat.video.info import VideoInfo
from headsplat.video.orientation import Orientation


@contextmanager
def open_video(
    path: Path | str, threads: int, strict: bool = False
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video and its first real video stream (not a cover picture).

    Args:
        path: the file.
        threads: of the decoder; the pictures of an intact stream do not depend on it.
        strict: report damaged pictures instead of painting them over with their neighbours.
            Only for a pass from the start: after a seek into an open group, the references
            that are missing by design count as damage too.

    Raises:
        UserError: the file is missing, is no video, or has no video stream.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; check the path of the video")
    try:
        container = av.open(str(path))
    except (OSError, av.error.FFmpegError) as error:
        raise UserError(
            f"{path}: not a video that can be opened, or cut off before its index "
            f"({error.strerror}); give a complete mp4, mov, mkv or webm file"
        ) from error
    with container:
        attached = av.stream.Disposition.attached_pic
        streams = [s for s in container.streams.video if not s.disposition & attached]
        if not streams:
            raise UserError(f"{path}: the file has no video stream; give a video with pictures")
        stream = streams[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", threads
        stream.codec_context.options = {"err_detect": "explode"} if strict else {}
        yield container, stream


def packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """Packets of `stream` up to the end of the file, or to where a cut-off file stops."""
    iterator = container.demux(stream)
    while True:
        try:
            packet = next(iterator)
        except (StopIteration, av.error.FFmpegError):
            return
        yield packet


def decode_packet(packet: Packet) -> list[VideoFrame]:
    """Intact pictures that come out of the decoder with this packet.

    A damaged packet gives none; which picture that was shows in the time stamps.
    """
    try:
        frames = packet.decode()
    except av.error.FFmpegError:
        return []
    return [frame for frame in frames if frame.pts is not None and not frame.is_corrupt]


def read_pictures(
    path: Path | str, info: VideoInfo, first: int, stop: int, fine: bool = True
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (id, upright RGB uint8 (H, W, 3)) for ids first .. stop - 1.

    Seeks to the last key frame at or before the first needed picture and decodes until the
    last one; holds one picture at a time. Ids that share a source picture share the array.
    Without `fine`, colour edges are as coarse as the stored colour planes, and decoding of
    large pictures is several times faster.

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
    turned = info.rotation % 180 != 0
    stored = (info.height, info.width) if turned else (info.width, info.height)
    to_rgb = RgbConverter(*stored, fine)
    # Read from one frame only: looking at side data ties a frame into a reference cycle, and
    # frames that wait for the garbage collector take hundreds of megabytes.
    orientation = None
    # With several threads, a damaged stream may decode differently from run to run.
    threads = 1 if info.n_undecodable else available_threads()
    with open_video(path, threads) as (container, stream):
        for frame in _frames_from(container, stream, info, info.pts[first - 1]):
            wanted = info.pts[frame_id - 1]
            if frame.pts < wanted:
                continue
            if frame.pts > wanted:
                break
            picture = None
            orientation = orientation or Orientation.of(frame)
            while frame_id < stop and info.pts[frame_id - 1] == frame.pts:
                if picture is None:
                    picture = orientation.apply(to_rgb(frame))
                yield frame_id, picture
                frame_id += 1
            if frame_id == stop:
                return
    raise UserError(
        f"{path}: frame {frame_id} at time stamp {info.pts[frame_id - 1]} does not decode as it "
        "did when probed; touch the video, and the same command probes it again"
    )


def _frames_from(
    container: InputContainer, stream: VideoStream, info: VideoInfo, start: int
) -> Iterator[VideoFrame]:
    """Decoded pictures from the time stamp `start` on.

    Tries the last key frame before it, then earlier ones, at last the start of the file:
    containers index by decoding time, so a seek may land late, and streams that refresh in
    slices are whole only some pictures after their key frame.
    """
    for key in reversed([stamp for stamp in info.keyframes if stamp <= start][1:]):
        container.seek(key, stream=stream, backward=True)
        frames = _decode(_from_key_frame(packets(container, stream)))
        first = next((frame for frame in frames if frame.pts >= start), None)
        if first is not None and first.pts == start:
            return chain([first], frames)
    container.seek(0)
    return _decode(packets(container, stream))


def _decode(source: Iterator[Packet]) -> Iterator[VideoFrame]:
    for packet in source:
        yield from decode_packet(packet)


def _from_key_frame(source: Iterator[Packet]) -> Iterator[Packet]:
    # Pictures that follow an open key frame in the file but are shown before it need the
    # previous group, which is not there after a seek. Nothing later refers to them.
    key = None
    for packet in source:
        if key is None and packet.is_keyframe:
            key = packet.pts
        if packet.pts is None or (key is not None and packet.pts >= key):
            yield packet
