"""The matte stage: one chunk of frames -> one chunk of 8-bit mattes."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

from headsplat.cli import available_threads, progress
from headsplat.errors import UserError
from headsplat.files import FrameStore, FrameZipWriter, publish
from headsplat.images import decode_image, encode_png
from headsplat.masks.matter import Matter
from headsplat.masks.mediapipe_matter import MediaPipeMatter

# Another model is one more entry: it gets the same options and is shown frames in order.
MATTERS: dict[str, Callable[[float, int], Matter]] = {"mediapipe": MediaPipeMatter}


def matte_chunk(
    frames: Sequence[Path],
    chunk: str,
    out: Path,
    model: str,
    edge_radius: float,
    temporal_window: int,
) -> None:
    """Write the alpha zip of one chunk: 8-bit PNG, background 0, interior 255.

    Args:
        frames: zip of the chunk's pictures, and zips of frames before it, which warm the model
            up, so that mattes do not jump where one chunk ends and the next begins.
        chunk: stem of the chunk's own zip among `frames`.
        out: the zip to write, one `<id:05d>.png` per frame.
        model: a key of `MATTERS`.
        edge_radius: reach of the edge refinement, in pixels of a picture 512 wide.
        temporal_window: how many earlier frames steady a matte.

    Raises:
        UserError: an unknown model, a chunk that is not among `frames`, or an unreadable zip.
    """
    if model not in MATTERS:
        raise UserError(f"matte model '{model}': not known; use one of {', '.join(MATTERS)}")
    own = [path for path in frames if path.stem == chunk]
    if len(own) != 1:
        raise UserError(f"--frames: {len(own)} zips are named {chunk}.zip; pass exactly one")
    cv2.setNumThreads(available_threads())
    with (
        FrameStore(own) as store,
        FrameStore([path for path in frames if path.stem != chunk]) as earlier,
        closing(MATTERS[model](edge_radius, temporal_window)) as matter,
        publish(out) as temporary,
        FrameZipWriter(temporary, ".png") as pack,
    ):
        for frame_id in earlier.ids[max(len(earlier.ids) - matter.warm_up, 0) :]:
            matter.matte(decode_image(earlier.read(frame_id)))
        for frame_id in progress(store.ids, len(store.ids), "matte"):
            alpha = matter.matte(decode_image(store.read(frame_id)))
            pack.add(frame_id, encode_png(np.rint(alpha * 255).astype(np.uint8)))
