"""The parsing stage: one chunk of frames and mattes -> head-and-neck masks and mouth masks."""

from pathlib import Path

import cv2
import numpy as np
import torch

from headsplat.frames.crop import Crop
from headsplat.frames.images import decode_image, encode_png
from headsplat.frames.packs import FrameStore, FrameZipWriter, require_same_ids
from headsplat.heads.landmarks import MEDIAPIPE_GROUPS
from headsplat.heads.model import HeadModel
from headsplat.masks.neck_cut import cut_neckhead
from headsplat.masks.projected_head import HeadProjector, ProjectedHead
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish, read_npz
from headsplat.runtime.process import available_threads
from headsplat.runtime.progress import progress

# The neck cut is a smooth line: it is found in an image about this wide.
_WORKING_WIDTH = 256
# The mouth mask reaches beyond the lips' outline by this part of the mouth's width, so that the
# lips' own edge lies inside.
_MOUTH_MARGIN = 0.06


def parse_chunk(
    head: Path,
    track: Path,
    frames: Path,
    alpha: Path,
    landmarks: Path,
    crop: Path,
    out: Path,
) -> None:
    """Write `<id>_neckhead.png` and `<id>_mouth.png` of every frame of one chunk, 0 or 255.

    Frames without a detected face are parsed with their interpolated pose.

    Args:
        head: the head model.
        track: `track.npz`.
        frames: zip of the chunk's images.
        alpha: zip of the chunk's mattes.
        landmarks: `landmarks.npz` of the clip, in source pixels.
        crop: `crop.json`.
        out: the zip to write.

    Raises:
        UserError: an id without a partner, a track of another head or size, an unreadable file.
    """
    torch.set_num_threads(available_threads())
    cv2.setNumThreads(available_threads())
    window = Crop.load(crop)
    points = read_npz(landmarks, ("ids", "points"))
    row = {int(frame): k for k, frame in enumerate(points["ids"])}
    projector = HeadProjector(HeadModel.load(head), track)
    inside = _inside_source(window)
    with (
        FrameStore([frames]) as images,
        FrameStore([alpha]) as mattes,
        publish(out) as temporary,
        FrameZipWriter(temporary, ".png") as pack,
    ):
        ids = require_same_ids({str(frames): images.ids, str(alpha): mattes.ids})
        missing = [frame for frame in ids if frame not in row]
        if missing:
            raise UserError(f"{landmarks}: lacks the frames {missing[:10]}; detect again")
        scale = min(1.0, _WORKING_WIDTH / projector.width)
        projected = projector.frames(ids, scale)
        for frame, mesh in progress(zip(ids, projected, strict=True), len(ids), "parse"):
            image, matte = decode_image(images.read(frame)), decode_image(mattes.read(frame))
            if not (image.shape[:2] == matte.shape == (projector.height, projector.width)):
                raise UserError(
                    f"frame {frame}: image {image.shape[:2]}, matte {matte.shape}, track "
                    f"{(projector.height, projector.width)}; remake the chunks"
                )
            matte = matte * inside
            lips = window.points(points["points"][row[frame], MEDIAPIPE_GROUPS["lips_outer"], :2])
            outline = lips if np.isfinite(lips).all() else mesh.lips / scale
            pack.add(frame, encode_png(neckhead_mask(image, matte, mesh)), role="_neckhead")
            pack.add(frame, encode_png(mouth_mask(outline, matte)), role="_mouth")


def neckhead_mask(image: np.ndarray, matte: np.ndarray, mesh: ProjectedHead) -> np.ndarray:
    """Head, hair and neck without clothes.

    Args:
        image: (H, W, 3) uint8 RGB.
        matte: (H, W) uint8.
        mesh: the projected head at any size.

    Returns:
        (H, W) uint8: 255 also where the matte is soft, because compositing multiplies the two.
    """
    size = mesh.parts.shape[::-1]
    small = [cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in (image, matte)]
    score = cut_neckhead(*small, mesh)
    score = cv2.resize(score, matte.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.where((score > 0) & (matte > 0), np.uint8(255), np.uint8(0))


def mouth_mask(outline: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """Lips and mouth interior: the hull of points of the lips, a little widened.

    Args:
        outline: (n, 2) pixels; pixel centers are at +0.5.
        matte: (H, W) uint8; the mouth of a turned head does not reach beyond it.

    Returns:
        (H, W) uint8, 0 or 255.
    """
    hull = cv2.convexHull(outline.astype(np.float32))[:, 0]
    margin = max(1.0, _MOUTH_MARGIN * float(np.ptp(hull, axis=0).max()))
    mask = np.zeros(matte.shape, np.uint8)
    # OpenCV counts from the center of the first pixel, in 1/16 pixels here.
    corners = np.round((hull - 0.5) * 16).astype(np.int32)[:, None]
    cv2.fillPoly(mask, [corners], 255, shift=4)
    reach = 2 * round(margin) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    return np.where(matte > 0, cv2.dilate(mask, kernel), np.uint8(0))


def _inside_source(window: Crop) -> np.ndarray:
    """(size, size) uint8: 1 where the crop shows the source, 0 on its black padding."""
    centers = (np.arange(window.size) + 0.5) / window.scale
    columns = (centers + window.x0 > 0) & (centers + window.x0 < window.source_width)
    rows = (centers + window.y0 > 0) & (centers + window.y0 < window.source_height)
    return (rows[:, None] & columns).astype(np.uint8)
