"""`ImportedClip`, the result of a format reader: track and images in headsplat's conventions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError
from headsplat.track import Track, head_moves

FPS = 25.0


@dataclass(frozen=True)
class ImageSource:
    """Location of one image, matte or mask; opened only when its chunk is packed.

    Attributes:
        path: an image file, or an `.npz`.
        array: the array of the `.npz` at `path` that holds the image, (H, W, 3) RGB or (H, W),
            leading axes of length 1 allowed; uint8, or float in 0..1. None: `path` is an image.
        labels: the pixels are class ids in the order of "bisenet" or "celebamask" (see
            `headsplat.masks.labels`); packing converts them to the requested mask. Only for
            `head_mask` and `mouth_mask`.
    """

    path: Path
    array: str | None = None
    labels: str | None = None


@dataclass(frozen=True)
class ImportedClip:
    """Content of an imported folder.

    Attributes:
        track: camera-moves form in OpenCV axes, codes of `ImportOptions.head`; make it with
            `make_track`. Ids are 1-based and ascending and may have gaps; `K` and `img_size`
            belong to the images in the folder, which need not be square; packing crops and scales
            both.
        images: id -> image, for every id of the track and no other; all of `track.img_size`.
        alpha: id -> matte of the same size, or empty if there is none.
        head_mask: id -> head, hair and neck without clothes, likewise (128 and more is inside).
        mouth_mask: id -> lips and mouth interior; required with `head_mask`.
        notes: what was dropped or assumed, one sentence each, for the log and `import.json`.
    """

    track: Track
    images: Mapping[int, ImageSource]
    alpha: Mapping[int, ImageSource] = field(default_factory=dict)
    head_mask: Mapping[int, ImageSource] = field(default_factory=dict)
    mouth_mask: Mapping[int, ImageSource] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportOptions:
    """Options of an import, and helpers shared by readers.

    Attributes:
        head: the subject's head model. Codes that are FLAME's need `require_flame`.
        frame_delta: image number minus frame number, or None to measure it or use the layout's
            value.
        images: the user's own folder of images instead of the tool's, or None. Readers without
            support call `refuse_images`.
        flame_version: FLAME release given by the user, "2020" or "2023", or None.
        blink_gain: eyelid closure per unit of a blink score.
        detect: image (H, W, 3) uint8 RGB -> (478, 2) MediaPipe points in its pixels, or None
            where it shows no face.
    """

    head: HeadModel
    frame_delta: int | None = None
    images: Path | None = None
    flame_version: str | None = None
    blink_gain: float = 0.5
    detect: Callable[[np.ndarray], np.ndarray | None] | None = None


ReadClip = Callable[[Path, ImportOptions], ImportedClip]
"""A reader: the folder of the table's `import` cell and the options -> the clip; problems are
`UserError` of one line with the file and the key."""


def make_track(
    head: HeadModel,
    ids: np.ndarray,
    shape: np.ndarray,
    exp: np.ndarray,
    jaw: np.ndarray,
    eyes: np.ndarray,
    eyelids: np.ndarray,
    R: np.ndarray,
    t: np.ndarray,
    K: np.ndarray,
    img_size: tuple[int, int],
    fps: float = FPS,
) -> Track:
    """The track of an import: confidence 1 in every frame, and residuals NaN.

    Args:
        head: the head model whose codes these are.
        ids: (N,) 1-based.
        shape: (S,), see `fit_codes`.
        exp: (N, E).
        jaw: (N, 6) 6D rows.
        eyes: (N, 12) left, right.
        eyelids: (N, 2) left, right; 0 open, 1 closed.
        R: (N, 3, 3) head to OpenCV camera.
        t: (N, 3) meters.
        K: (3, 3) pixels of the images.
        img_size: their height and width.
        fps: images a second.
    """
    count = len(ids)
    head_R, head_t, camera_R, camera_t = head_moves(R, t)
    unknown = np.full(count, np.nan, np.float32)
    return Track(
        ids=np.asarray(ids, np.int32),
        status=np.array(["ok"] * count),
        confidence=np.ones(count, np.float32),
        interpolated=np.zeros(count, bool),
        shape=shape,
        exp=exp,
        jaw=jaw,
        eyes=eyes,
        eyelids=eyelids,
        R=R,
        t=t,
        K=K,
        img_size=np.array(img_size, np.int64),
        head_R=head_R,
        head_t=head_t,
        camera_R=camera_R,
        camera_t=camera_t,
        residual_px=unknown,
        residual_iod=unknown,
        residual_group=np.zeros((count, 0), np.float32),
        group_names=np.array([], dtype=str),
        head_name=head.name,
        head_version=head.version,
        head_licence=head.licence,
        fps=fps,
    )


def refuse_images(options: ImportOptions, tool: str) -> None:
    """Raise `UserError` if the user gave images for a format that includes its own."""
    if options.images is not None:
        raise UserError(
            f"{tool}: brings its own images, '{options.images}' cannot replace them; "
            "write '-' in the column 'video'"
        )
