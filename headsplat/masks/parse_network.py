"""Parse stage with BiSeNet: head-and-neck mask and mouth mask of each frame of one chunk."""

from pathlib import Path

import cv2
import numpy as np
import torch

from headsplat.frames.images import encode_png
from headsplat.frames.packs import FrameStore, FrameZipWriter
from headsplat.masks.decoding import decode_rgb
from headsplat.masks.labels import BISENET, masks_from_labels
from headsplat.masks.parsing_models import PARSING_MODELS
from headsplat.networks.rvm_inference import stack
from headsplat.networks.transfer import Download, Row
from headsplat.runtime.device import shared_gpu
from headsplat.runtime.files import publish
from headsplat.runtime.overlap import overlapped
from headsplat.runtime.process import available_threads
from headsplat.runtime.progress import progress


def parse_chunk_by_network(frames: Path, weights: Path, out: Path, model: str = "bisenet") -> None:
    """Write `<id>_neckhead.png` and `<id>_mouth.png` of every frame of one chunk, 0 or 255.

    Args:
        frames: zip of the chunk's images.
        weights: file of the network.
        out: the zip to write.
        model: of `headsplat.masks.parsing_models.PARSING_MODELS`.

    Raises:
        UserError: an unreadable zip, or weights of another network.
    """
    threads = available_threads()
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)  # frames are already processed on several threads
    turn = int(frames.stem) if frames.stem.isdigit() else 0
    parser = PARSING_MODELS[model].load()(weights, *shared_gpu(turn))

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
