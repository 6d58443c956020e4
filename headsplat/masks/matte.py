"""The matte stage: one chunk of frames -> one chunk of 8-bit mattes."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2

from headsplat.frames.images import encode_png
from headsplat.frames.packs import FrameStore, FrameZipWriter
from headsplat.masks.decoding import decode_rgb
from headsplat.masks.matter import Matter
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish
from headsplat.runtime.overlap import overlapped
from headsplat.runtime.process import available_threads
from headsplat.runtime.progress import progress


@dataclass(frozen=True)
class MatteOptions:
    """What a matting model may want to know.

    Attributes:
        edge_radius: reach of the edge refinement, in pixels of an image 512 wide (mediapipe).
        temporal_window: how many earlier frames steady a matte (mediapipe).
        weights: of the network (rvm), or None.
        turn: number of the chunk: chunks take turns over the GPUs (rvm).
    """

    edge_radius: float
    temporal_window: int
    weights: Path | None
    turn: int


# Each model imports what it alone needs, so that one runs where the other's libraries are absent.
def _mediapipe(options: MatteOptions) -> Matter:
    from headsplat.masks.mediapipe_matter import MediaPipeMatter

    return MediaPipeMatter(options.edge_radius, options.temporal_window)


def _rvm(options: MatteOptions) -> Matter:
    import torch

    from headsplat.masks.rvm_matter import RvmMatter
    from headsplat.networks.placement import shared_gpu
    from headsplat.networks.rvm_sessions import open_matting

    if options.weights is None:
        raise UserError("--model rvm: needs its weights; pass --weights rvm_mobilenetv3_fp32.onnx")
    torch.set_num_threads(available_threads())
    cv2.setNumThreads(1)  # the threads that load and finish images are enough
    return RvmMatter(open_matting(options.weights, *shared_gpu(options.turn)))


# Another model is one more entry: it is shown frames in order.
MATTERS: dict[str, Callable[[MatteOptions], Matter]] = {"mediapipe": _mediapipe, "rvm": _rvm}


def matte_chunk(
    frames: Sequence[Path],
    chunk: str,
    out: Path,
    model: str,
    edge_radius: float,
    temporal_window: int,
    weights: Path | None = None,
) -> None:
    """Write the alpha zip of one chunk: 8-bit PNG, background 0, interior 255.

    Args:
        frames: zip of the chunk's images, and zips of frames before it, which warm the model
            up, so that mattes do not jump where one chunk ends and the next begins.
        chunk: stem of the chunk's own zip among `frames`.
        out: the zip to write, one `<id:05d>.png` per frame.
        model: a key of `MATTERS`, or `auto`: `rvm` where `weights` are given, else `mediapipe`.
        edge_radius: reach of the edge refinement, in pixels of an image 512 wide.
        temporal_window: how many earlier frames steady a matte.
        weights: of Robust Video Matting, `.onnx` or `.pth`.

    Raises:
        UserError: an unknown model, a chunk that is not among `frames`, an unreadable zip, or
            weights that are not what their name says.
    """
    if model == "auto":
        model = "mediapipe" if weights is None else "rvm"
    if model not in MATTERS:
        raise UserError(f"matte model '{model}': not known; use one of {', '.join(MATTERS)}")
    own = [path for path in frames if path.stem == chunk]
    if len(own) != 1:
        raise UserError(f"--frames: {len(own)} zips are named {chunk}.zip; pass exactly one")
    threads = available_threads()
    cv2.setNumThreads(threads)
    turn = int(chunk) if chunk.isdigit() else 0
    options = MatteOptions(edge_radius, temporal_window, weights, turn)
    with (
        FrameStore(own) as store,
        FrameStore([path for path in frames if path.stem != chunk]) as earlier,
        closing(MATTERS[model](options)) as matter,
        publish(out) as temporary,
        FrameZipWriter(temporary, ".png") as pack,
    ):
        before = earlier.ids[max(len(earlier.ids) - matter.warm_up, 0) :]
        warm_up = [decode_rgb(earlier.read(frame_id)) for frame_id in before]
        for k in range(0, len(warm_up), matter.batch):
            matter.begin(warm_up[k : k + matter.batch])
        mattes = overlapped(
            store.ids,
            lambda frame_id: decode_rgb(store.read(frame_id)),
            matter.begin,
            lambda _, begun: encode_png(matter.finish(begun)),
            matter.batch,
            threads,
        )
        for frame_id, data in progress(mattes, len(store.ids), "matte"):
            pack.add(frame_id, data)
