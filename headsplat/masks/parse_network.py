"""Parse stage with BiSeNet: head-and-neck mask and mouth mask of each frame of one chunk.

The network says what is hair and what is background. Where the neck ends is the clip's cut, so that
clothes do not flicker in and out of the mask.
"""

from pathlib import Path

import cv2
import numpy as np
import torch

from headsplat.frames.images import encode_png
from headsplat.frames.packs import FrameStore, FrameZipWriter
from headsplat.heads.model import HeadModel
from headsplat.masks.decoding import read_rgb
from headsplat.masks.labels import BISENET, masks_from_labels
from headsplat.masks.parsing_models import PARSING_MODELS
from headsplat.masks.steady_cut import SteadyCut, carried_cut, soft_side
from headsplat.masks.trunk_view import TrunkView
from headsplat.networks.rvm_inference import stack
from headsplat.networks.transfer import Download, Row
from headsplat.runtime.device import shared_gpu
from headsplat.runtime.files import publish
from headsplat.runtime.overlap import overlapped
from headsplat.runtime.process import available_threads
from headsplat.runtime.progress import progress

# Classes that the cut divides; all others but the background are the head's.
_BELOW = [BISENET.index(name) for name in ("neck", "necklace", "cloth")]


def parse_chunk_by_network(
    frames: Path, weights: Path, head: Path, track: Path, cut: Path, out: Path,
    model: str = "bisenet",
) -> None:  # fmt: skip
    """Write `<id>_neckhead.png` (0..255) and `<id>_mouth.png` (0 or 255) of one chunk's frames.

    Args:
        frames: zip of the chunk's images.
        weights: file of the network.
        head: the head model.
        track: `track.npz`.
        cut: the clip's `SteadyCut`.
        out: the zip to write.
        model: of `headsplat.masks.parsing_models.PARSING_MODELS`.

    Raises:
        UserError: an unreadable zip, weights of another network, or a track that lacks a frame.
    """
    line = SteadyCut.load(cut)
    view = TrunkView(HeadModel.load(head), track, line.reference)
    threads = available_threads()
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)  # frames are already processed on several threads
    turn = int(frames.stem) if frames.stem.isdigit() else 0
    parser = PARSING_MODELS[model].load()(weights, *shared_gpu(turn))

    def labels(images: list[np.ndarray]) -> list[Row]:
        return Download(parser.labels(stack(images))).rows()

    def masks(frame: int, found: Row) -> tuple[bytes, bytes]:
        labels = found.array()
        _, mouth = masks_from_labels(labels, BISENET)
        return encode_png(_cut_off(labels, line, view, frame)), encode_png(mouth)

    with (
        FrameStore([frames]) as store,
        publish(out) as temporary,
        FrameZipWriter(temporary, ".png") as pack,
    ):
        coded = overlapped(
            store.ids,
            lambda frame_id: read_rgb(store, frame_id),
            labels,
            masks,
            parser.batch,
            threads,
        )
        for frame_id, (neckhead, mouth) in progress(coded, len(store.ids), "parse"):
            pack.add(frame_id, neckhead, role="_neckhead")
            pack.add(frame_id, mouth, role="_mouth")


def _cut_off(labels: np.ndarray, cut: SteadyCut, view: TrunkView, frame: int) -> np.ndarray:
    """(H, W) uint8: the head's classes, and of neck and clothes what the cut leaves."""
    ((distance, _),) = carried_cut(cut, view, [frame])
    distance = cv2.resize(distance, labels.shape[::-1], interpolation=cv2.INTER_LINEAR)
    above = np.rint(255 * soft_side(distance, cut.size)).astype(np.uint8)
    whole = np.where(labels == BISENET.index("background"), np.uint8(0), np.uint8(255))
    return np.where(np.isin(labels, _BELOW), above, whole)
