"""Matte stage: 8-bit alpha mattes of one chunk of frames, by MediaPipe or RobustVideoMatting."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np

from headsplat.frames.images import encode_png
from headsplat.frames.packs import FrameStore, FrameZipWriter
from headsplat.masks.decoding import read_rgb
from headsplat.masks.mask_model import AUTO, MaskModel
from headsplat.masks.matting_models import MATTING_MODELS, MatteOptions
from headsplat.masks.plate import Plate, plate_of
from headsplat.masks.plate_matte import plate_matte
from headsplat.masks.steady import SteadyMattes
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish
from headsplat.runtime.overlap import overlapped
from headsplat.runtime.process import available_threads
from headsplat.runtime.progress import progress

Array = np.ndarray
Pending = TypeVar("Pending")
# Finished mattes that may wait for the temporal filter.
_AHEAD = 4
# Images of the clip that show its background.
_PLATE_IMAGES = 16


class MattingModel(Protocol[Pending]):
    """Interface of a matting model, which gets the frames of a clip in order.

    It may be recurrent.

    Attributes:
        warm_up: number of earlier frames it needs until its state does not depend on the start.
        batch: preferred number of frames per call of `begin`.
    """

    warm_up: int
    batch: int

    def begin(self, images: Sequence[np.ndarray]) -> Sequence[Pending]:
        """Run the sequential part on the next frames, each (H, W, 3) uint8 RGB."""
        ...

    def finish(self, begun: Pending) -> np.ndarray:
        """The matte (H, W) uint8, 255 for the subject; thread-safe, called in any order."""
        ...

    def close(self) -> None:
        """Release the model."""
        ...


def matte_chunk(
    frames: Sequence[Path],
    chunk: str,
    out: Path,
    model: str,
    edge_radius: float,
    temporal_window: int,
    weights: Path | None = None,
    clip: Sequence[Path] = (),
) -> None:
    """Write the alpha zip of one chunk: 8-bit PNG, background 0, subject 255.

    Args:
        frames: zip of the chunk's images, and zips of earlier frames. These warm the model up, so
            that mattes are continuous across chunks.
        chunk: stem of the chunk's own zip among `frames`.
        out: the zip to write, one `<id:05d>.png` per frame.
        model: of `MATTING_MODELS`, or `auto`: the first network where `weights` are given, else the
            first model without.
        edge_radius: reach of the edge refinement, in pixels of an image 512 wide.
        temporal_window: how many earlier frames steady a matte.
        weights: of the network, where the model is one.
        clip: zips of frames of the whole clip, the same for all chunks. Where they show a
            background that stands still, it is known behind soft edges. Networks with `weights` do
            without, because they have learned hair, and so do mattes of edge radius 0.

    Raises:
        UserError: an unknown model, a chunk that is not among `frames`, an unreadable zip, or
            weights of another network.
    """
    if model == AUTO:
        network = weights is not None
        model = next(
            n for n, entry in MATTING_MODELS.items() if (entry.weights is not None) == network
        )
    entry = MATTING_MODELS[model]
    if entry.weights is not None and weights is None:
        raise UserError(f"--model {model}: needs its weights; pass --weights ({entry.description})")
    own = [path for path in frames if path.stem == chunk]
    if len(own) != 1:
        raise UserError(f"--frames: {len(own)} zips are named {chunk}.zip; pass exactly one")
    threads = available_threads()
    cv2.setNumThreads(threads)
    turn = int(chunk) if chunk.isdigit() else 0
    options = MatteOptions(edge_radius, temporal_window, weights, turn, model)
    plate = _plate(clip, entry, options) if clip and entry.weights is None and edge_radius else None
    with (
        FrameStore(own) as store,
        FrameStore([path for path in frames if path.stem != chunk]) as earlier,
        closing(entry.load()(options)) as matting,
        publish(out) as temporary,
        FrameZipWriter(temporary, ".png") as pack,
    ):
        steady = SteadyMattes(temporal_window)
        needed = matting.warm_up + temporal_window
        before = earlier.ids[max(len(earlier.ids) - needed, 0) :]
        for source, ids in ((earlier, before), (store, store.ids)):
            mattes = overlapped(
                ids,
                lambda frame_id, source=source: read_rgb(source, frame_id),
                lambda images: list(zip(images, matting.begin(images), strict=True)),
                lambda _, pair: _keyed(pair[0], matting.finish(pair[1]), plate),
                matting.batch,
                threads,
            )
            encoded = _in_background(lambda frame: encode_png(steady(*frame)), mattes)
            for frame_id, data in progress(encoded, len(ids), "matte"):
                if source is store:
                    pack.add(frame_id, data)


def _plate(clip: Sequence[Path], entry: MaskModel, options: MatteOptions) -> Plate | None:
    """The clip's background, by an unrefined matte of a few images."""
    coarse = replace(options, edge_radius=0.0, temporal_window=0)
    with FrameStore(clip) as store, closing(entry.load()(coarse)) as matting:
        places = np.linspace(0, len(store.ids) - 1, min(len(store.ids), _PLATE_IMAGES)).round()
        images = (read_rgb(store, store.ids[int(k)]) for k in places)
        return plate_of(
            (image, matting.finish(begun)) for image in images for begun in matting.begin([image])
        )


def _keyed(image: Array, matte: Array, plate: Plate | None) -> tuple[Array, Array, Array | None]:
    """An image, its matte by the background where that is known, and how far it decided."""
    if plate is None or plate.colors.shape != image.shape:
        return image, matte, None
    alpha, decided = plate_matte(image, matte * np.float32(1 / 255), plate)
    return image, np.rint(alpha * 255).astype(np.uint8), decided


def _in_background(
    function: Callable[[Any], bytes], pairs: Iterable[tuple[int, Any]]
) -> Iterator[tuple[int, bytes]]:
    """(key, function(value)) of pairs in order, by one thread, while the next are made."""
    with ThreadPoolExecutor(1) as pool:
        pending: deque[tuple[int, Future[bytes]]] = deque()
        for key, value in pairs:
            pending.append((key, pool.submit(function, value)))
            if len(pending) > _AHEAD:
                key, future = pending.popleft()
                yield key, future.result()
        for key, future in pending:
            yield key, future.result()
