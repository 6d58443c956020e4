"""Parse stage with the tracked mesh: head-and-neck masks and mouth masks of one chunk."""

from pathlib import Path

import cv2
import numpy as np
import torch

from headsplat.frames.crop import Crop
from headsplat.frames.images import decode_image, encode_png
from headsplat.frames.packs import FrameStore, FrameZipWriter, require_same_ids
from headsplat.heads.landmarks import MEDIAPIPE_GROUPS
from headsplat.heads.model import HeadModel
from headsplat.masks.neck_cut import split_person
from headsplat.masks.projected_head import HEAD, HeadProjector, ProjectedHead
from headsplat.masks.steady_cut import SteadyCut, carried_cut, soft_side
from headsplat.masks.trunk_view import TrunkView
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish, read_npz
from headsplat.runtime.process import available_threads
from headsplat.runtime.progress import progress

# Blur of the edges of the mesh and of hair in front of clothes, pixels.
_BLUR = 0.8
# Distance from the mesh, over the head's size, at which the person's pixels fade out of the mask:
# hands and other things apart from the head.
_FAR, _FADE = 0.9, 0.1
# Margin of the mouth mask around the lips' outline over the mouth's width; it includes the edge.
_MOUTH_MARGIN = 0.06


def parse_chunk(
    head: Path,
    track: Path,
    frames: Path,
    alpha: Path,
    landmarks: Path,
    crop: Path,
    cut: Path,
    out: Path,
) -> None:
    """Write `<id>_neckhead.png` (0..255) and `<id>_mouth.png` (0 or 255) of one chunk's frames.

    Frames without a detected face are parsed with their interpolated pose.

    Args:
        head: the head model.
        track: `track.npz`.
        frames: zip of the chunk's images.
        alpha: zip of the chunk's mattes.
        landmarks: `landmarks.npz` of the clip, in source pixels.
        crop: `crop.json`.
        cut: the clip's `SteadyCut`.
        out: the zip to write.

    Raises:
        UserError: an id that one of the files lacks, a track of another head or size, or an
            unreadable file.
    """
    torch.set_num_threads(available_threads())
    cv2.setNumThreads(available_threads())
    window = Crop.load(crop)
    points = read_npz(landmarks, ("ids", "points"))
    row = {int(frame): k for k, frame in enumerate(points["ids"])}
    model, line = HeadModel.load(head), SteadyCut.load(cut)
    projector, view = HeadProjector(model, track), TrunkView(model, track, line.reference)
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
        scale = view.scale
        meshes = projector.frames(ids, scale)
        lines = carried_cut(line, view, ids)
        shown = progress(zip(ids, meshes, lines, strict=True), len(ids), "parse")
        for frame, mesh, (distance, hair) in shown:
            image, matte = decode_image(images.read(frame)), decode_image(mattes.read(frame))
            if not (image.shape[:2] == matte.shape == (projector.height, projector.width)):
                raise UserError(
                    f"frame {frame}: image {image.shape[:2]}, matte {matte.shape}, track "
                    f"{(projector.height, projector.width)}; remake the chunks"
                )
            matte = matte * inside
            lips = window.points(points["points"][row[frame], MEDIAPIPE_GROUPS["lips_outer"], :2])
            outline = lips if np.isfinite(lips).all() else mesh.lips / scale
            strands = _strands(image, matte, mesh, hair)
            mask = neckhead_mask(matte, mesh, distance, strands)
            pack.add(frame, encode_png(mask), role="_neckhead")
            pack.add(frame, encode_png(mouth_mask(outline, matte)), role="_mouth")


def _strands(
    image: np.ndarray, matte: np.ndarray, mesh: ProjectedHead, where: np.ndarray
) -> np.ndarray:
    """(H, W) bool at working size: this frame's hair over the clothes."""
    if not where.any():
        return where
    size = mesh.parts.shape[::-1]
    small = [cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in (image, matte)]
    return split_person(*small, mesh).hair & where


def neckhead_mask(
    matte: np.ndarray, mesh: ProjectedHead, distance: np.ndarray, hair: np.ndarray
) -> np.ndarray:
    """Mask of head, hair and neck without clothes.

    Args:
        matte: (H, W) uint8.
        mesh: the projected head at any resolution.
        distance: pixels from the clip's line as this frame shows it, positive on clothes; of the
            mesh's resolution.
        hair: bool, hair that lies over the clothes, likewise.

    Returns:
        (H, W) uint8, soft at the cut only: where the matte is soft it is 255, because compositing
        multiplies the two.
    """
    shape = matte.shape[::-1]
    core = mesh.parts == HEAD
    size = float(np.sqrt(core.sum()))
    if size < 1:
        return np.zeros_like(matte)
    away = cv2.distanceTransform((mesh.parts == 0).astype(np.uint8), cv2.DIST_L2, 3) / size
    over = cv2.GaussianBlur((core | hair).astype(np.float32), (0, 0), _BLUR)
    layers = np.dstack([distance, np.maximum(over, core), (_FAR - away) / _FADE])
    layers = cv2.resize(layers.astype(np.float32), shape, interpolation=cv2.INTER_LINEAR)
    inside = np.maximum(soft_side(layers[..., 0], size), layers[..., 1])
    inside = inside * layers[..., 2].clip(0, 1)
    return np.where(matte > 0, np.rint(inside * 255), 0).astype(np.uint8)


def mouth_mask(outline: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """Mask of lips and mouth interior: the dilated convex hull of lip points.

    Args:
        outline: (n, 2) px; pixel centers are at +0.5.
        matte: (H, W) uint8, to which the mask is clipped.

    Returns:
        (H, W) uint8, 0 or 255.
    """
    hull = cv2.convexHull(outline.astype(np.float32))[:, 0]
    margin = max(1.0, _MOUTH_MARGIN * float(np.ptp(hull, axis=0).max()))
    mask = np.zeros(matte.shape, np.uint8)
    # OpenCV's origin is the center of the first pixel; `shift=4` means units of 1/16 px.
    corners = np.round((hull - 0.5) * 16).astype(np.int32)[:, None]
    cv2.fillPoly(mask, [corners], 255, shift=4)
    reach = 2 * round(margin) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    return np.where(matte > 0, cv2.dilate(mask, kernel), np.uint8(0))


def _inside_source(window: Crop) -> np.ndarray:
    """(size, size) uint8: 1 inside the source image, 0 on the crop's black padding."""
    centers = (np.arange(window.size) + 0.5) / window.scale
    columns = (centers + window.x0 > 0) & (centers + window.x0 < window.source_width)
    rows = (centers + window.y0 > 0) & (centers + window.y0 < window.source_height)
    return (rows[:, None] & columns).astype(np.uint8)
