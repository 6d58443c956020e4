"""The parsing stage by a face-parsing network: one chunk of frames -> two masks a frame."""

from pathlib import Path

import cv2
import numpy as np
import torch

from headsplat.frames.images import encode_png
from headsplat.frames.packs import FrameStore, FrameZipWriter
from headsplat.masks.decoding import decode_rgb
from headsplat.masks.labels import BISENET, masks_from_labels
from headsplat.networks.face_parsers import open_parser
from headsplat.networks.placement import shared_gpu
from headsplat.networks.rvm_sessions import stack
from headsplat.networks.transfer import Download, Row
from headsplat.runtime.files import publish
from headsplat.runtime.overlap import overlapped
from headsplat.runtime.process import available_threads
from headsplat.runtime.progress import progress


def parse_chunk_by_network(frames: Path, weights: Path, out: Path) -> None:
    """Write `<id>_neckhead.png` and `<id>_mouth.png` of every frame of one chunk, 0 or 255.

    Args:
        frames: zip of the chunk's images.
        weights: BiSeNet's `79999_iter.pth`, or an ONNX export of it.
        out: the zip to write.

    Raises:
        UserError: an unreadable zip, or weights that are not the network's.
    """
    threads = available_threads()
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)  # the threads that load and finish images are enough
    turn = int(frames.stem) if frames.stem.isdigit() else 0
    parser = open_parser(weights, *shared_gpu(turn))

    def labels(images: list[np.ndarray]) -> list[Row]:
        return Download(parser.labels(stack(images))).rows()

    def masks(_: int, found: Row) -> tuple[bytes, bytes]:
        neckhead, mouth = masks_from_labels(found.array(), BISENET)
        return encode_png(neckhead), encode_png(mouth)

    with (
        FrameStore([frames]) as store,
        publish(out) as temporary,
        FrameZipWriter(temporary, ".png") as pack,
    ):
        coded = overlapped(
            store.ids,
            lambda frame_id: decode_rgb(store.read(frame_id)),
            labels,
            masks,
            parser.batch,
            threads,
        )
        for frame_id, (neckhead, mouth) in progress(coded, len(store.ids), "parse"):
            pack.add(frame_id, neckhead, role="_neckhead")
            pack.add(frame_id, mouth, role="_mouth")
