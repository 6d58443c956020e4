"""What a reader of a foreign folder hands over: a track and images in headsplat's conventions."""

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
    """Where one image, matte or mask lies; it is opened only when its chunk is packed.

    Attributes:
        path: an image file, or an `.npz`.
        array: the array of the `.npz` at `path` that holds the image, (H, W, 3) RGB or (H, W),
            leading axes of length 1 allowed; uint8, or float in 0..1. None: `path` is an image.
        labels: the pixels are class ids in the order of "bisenet" or "celebamask" (see
            `headsplat.masks.labels`); packing turns them into the mask that is wanted. Only for
            `head_mask` and `mouth_mask`.
    """

    path: Path
    array: str | None = None
    labels: str | None = None


@dataclass(frozen=True)
class ImportedClip:
    """What a foreign folder brings.

    Attributes:
        track: camera-moves form in OpenCV axes, codes of `ImportOptions.head`; make it with
            `make_track`. Ids are 1-based and ascending and may have gaps; `K` and `img_size`
            belong to the images as they lie in the folder, which need not be square: packing
            cuts and scales them, and the intrinsics with them.
        images: id -> image, for every id of the track and no other; all of `track.img_size`.
        alpha: id -> matte of the same size, or empty when the tool brings none.
        head_mask: id -> head, hair and neck without clothes, likewise (128 and more is inside).
        mouth_mask: id -> lips and mouth interior; there whenever `head_mask` is.
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
    """What the user said about an import, and what readers share.

    Attributes:
        head: the subject's head model. Codes that are FLAME's need `require_flame`.
        frame_delta: image number minus frame number as stated, or None to measure it or to
            take the layout's own.
        images: the user's own folder of images instead of the tool's, or None. A reader
            that takes none refuses it with `refuse_images`.
        flame_version: "2020" or "2023" where the user says whose codes they are, or None.
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
    """The track of an import: every frame counts fully, and no residual is known (NaN).

    Args:
        head: the head model whose codes these are.
        ids: (N,) 1-based.
        shape: (S,), see `fit_codes`.
        exp: (N, E).
        jaw: (N, 6) 6D rows.
        eyes: (N, 12) left, right.
        eyelids: (N, 2) left, right; 0 open, 1 closed.
        R: (N, 3, 3) head to OpenCV camera.
        t: (N, 3) metres.
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


def fit_codes(values: np.ndarray, wanted: int, have: int, where: str, key: str) -> np.ndarray:
    """Codes of a format's length as codes of the head model's.

    FLAME's bases are ordered, so that fewer codes mean zeros; codes that the model lacks may
    only be left out where they are zero, as headsplat's own exports pad them.

    Args:
        values: (..., n) codes.
        wanted: how many the format has.
        have: how many the head model has.
        where: the file, for messages.
        key: the key in it.

    Returns:
        (..., have) float64.

    Raises:
        UserError: another number than the format's, not finite, or more than the model has.
    """
    values = np.asarray(values, np.float64)
    count = values.shape[-1]
    if count != wanted:
        raise UserError(
            f"{where}: '{key}' has {count} codes, this format has {wanted}; "
            "export it again with that many"
        )
    if not np.isfinite(values).all():
        raise UserError(f"{where}: '{key}' is not finite; export it again")
    if values[..., have:].any():
        raise UserError(
            f"{where}: '{key}' has {count} codes, the head model {have}; imported codes are "
            "FLAME's: write 'flame' in the column 'head'"
        )
    out = np.zeros((*values.shape[:-1], have))
    out[..., : min(count, have)] = values[..., :have]
    return out


def require_flame(options: ImportOptions, default: str, tool: str) -> str:
    """Check that the head model is the FLAME that made the codes; return its year.

    Args:
        options: of the import; `flame_version` overrides the tool's default.
        default: "2020" or "2023", what the tool uses unless told otherwise.
        tool: its name, for messages.

    Raises:
        UserError: another head model, or FLAME of another year, whose bases differ.
    """
    head, year = options.head, options.flame_version or default
    if head.name != "flame":
        raise UserError(
            f"{tool}: its codes are FLAME's, the head is '{head.name}'; write 'flame' in the "
            "column 'head' and see the README for its files"
        )
    found = head.version.split("-", 1)[0]
    if found != year:
        raise UserError(
            f"{tool}: its codes are of FLAME {year}, the head model is FLAME {found}, whose codes "
            f"mean other shapes; point heads.flame at FLAME {year}, or state the codes' year in "
            "the column 'flame_version'"
        )
    return year


def refuse_images(options: ImportOptions, tool: str) -> None:
    """Raise `UserError` if own images were given to a tool that brings the only fitting ones."""
    if options.images is not None:
        raise UserError(
            f"{tool}: brings its own images, '{options.images}' cannot replace them; "
            "write '-' in the column 'video'"
        )
