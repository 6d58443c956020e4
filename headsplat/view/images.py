"""Images of the clip for the page, from the packs that the stages write."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headsplat.frames.images import decode_image, encode_jpeg, encode_png
from headsplat.frames.packs import FrameStore
from headsplat.train.dataset import ImageReader
from headsplat.view.cached import Cached
from headsplat.view.files import SubjectFiles
from headsplat.web.container import write_payload

_JPEG = b"\xff\xd8\xff"
_KINDS = ("images", "alpha", "parsing")
_QUALITY = 92


class ClipImages:
    """Images by frame id, for one thread.

    Args:
        files: of the subject.
    """

    def __init__(self, files: SubjectFiles) -> None:
        self._files = files
        self._store = Cached(FrameStore, FrameStore.close)
        self._reader = Cached(_open_reader, ImageReader.close)

    def count(self, kind: str = "images") -> int:
        """Number of packs of images, `alpha` or `parsing` so far."""
        return len(self._files.listed(kind))

    def image(self, frame_id: int) -> bytes | None:
        """The image as a JPEG, or None where there is none yet."""
        paths = self._files.listed("images")
        if not paths:
            return None
        store = self._store.get(paths)
        if (frame_id, "") not in store:
            return None
        data = store.read(frame_id)
        return data if data.startswith(_JPEG) else encode_jpeg(decode_image(data), _QUALITY)

    def ground_truth(self, frame_id: int, size: tuple[int, int], person: bool) -> bytes | None:
        """What training sees of a frame, or None where its images or mattes are not there yet.

        Args:
            frame_id: id of the frame.
            size: width and height of the clip's images.
            person: the matte is that of the whole person, not of the head.

        Returns:
            Arrays `color` (JPEG) and `matte` (PNG, 8 bits), packed by `headsplat.web.container`.

        Raises:
            UserError: an image cannot be used.
        """
        packs = [self._files.listed(kind) for kind in _KINDS]
        if not all(packs):
            return None
        counts = tuple(len(part) for part in packs)
        reader = self._reader.get([path for part in packs for path in part], counts, size)
        if not reader.has(frame_id):
            return None
        planes = reader.read_person(frame_id)
        matte = np.ascontiguousarray(planes[..., 5 if person else 3])
        color = encode_jpeg(np.ascontiguousarray(planes[..., :3]), _QUALITY)
        parts = {"color": color, "matte": encode_png(matte)}
        arrays = {name: np.frombuffer(data, np.uint8) for name, data in parts.items()}
        return write_payload({"counts": {}}, arrays)


def _open_reader(
    paths: Sequence[Path], counts: tuple[int, int, int], size: tuple[int, int]
) -> ImageReader:
    first, second = counts[0], counts[0] + counts[1]
    return ImageReader(paths[:first], paths[first:second], paths[second:], *size)
