"""FLAME identity of a subject: the median of MICA's codes over the best frames."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from headsplat.frames.crop import Crop
from headsplat.frames.images import decode_image
from headsplat.frames.packs import FrameStore
from headsplat.frames.table import read_frames
from headsplat.networks.mica import load_mica
from headsplat.runtime.device import shared_gpu
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz, write_npy
from headsplat.runtime.logs import log
from headsplat.runtime.process import available_threads

SIZE = 112
# ArcFace's template for 112 pixels: eyes, nose, corners of the mouth, from the image's left.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655],
     [70.7299, 92.2041]]
)  # fmt: skip
# The same points in MediaPipe's mesh: centers of the irises, tip of the nose, corners of the mouth.
FIVE = (468, 473, 4, 61, 291)
FRAMES = 16  # in the median
_TURNED = 4.0  # template error, in pixels of the 112, that halves a frame's score


def solve_identity(
    frames: Sequence[Path], landmarks: Path, crop: Path, table: Path, weights: Path, out: Path
) -> None:
    """Write the code, `.npy` (300,) float32: the median over the best frames of the clip.

    Args:
        frames: zips of the clip's images.
        landmarks: `landmarks.npz` of the clip, in source pixels.
        crop: `crop.json`.
        table: `frames.tsv`.
        weights: `mica.tar`.
        out: the code to write.

    Raises:
        UserError: no usable frame, or weights that are not MICA's.
    """
    torch.set_num_threads(available_threads())
    found = read_npz(landmarks, ("ids", "points"))
    points = Crop.load(crop).points(found["points"][:, FIVE, :2])
    row = {int(frame): k for k, frame in enumerate(found["ids"])}
    rows = [r for r in read_frames(table) if r.usable and r.id in row]
    good = choose_frames(
        np.array([r.id for r in rows]),
        points[[row[r.id] for r in rows]],
        np.array([r.confidence for r in rows]),
    )
    if len(good) == 0:
        raise UserError(f"{table}: no frame shows a face that MICA could use; give --identity")
    with FrameStore(frames) as store:
        faces = [aligned_face(decode_image(store.read(i)), points[row[i]]) for i in good.tolist()]
    device, _ = shared_gpu(0)
    codes = encode(np.stack(faces), weights, device)
    code = np.median(codes, 0).astype(np.float32)
    spread = np.abs(codes - code).mean() / max(float(np.abs(code).mean()), 1e-9)
    log.info("identity of %d frames; they differ by %.0f %% of its size", len(good), 100 * spread)
    write_npy(out, code)


def choose_frames(ids: np.ndarray, five: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """The most confident and frontal frame of each of 16 equal parts of the clip.

    Args:
        ids: (n,) usable frames, ascending.
        five: (n, 5, 2) pixels, NaN where no face was found.
        confidence: (n,) in [0, 1].

    Returns:
        At most 16 ids, ascending.
    """
    seen = np.isfinite(five).all((1, 2))
    ids, five, confidence = ids[seen], five[seen], confidence[seen]
    error = np.array([template_error(points) for points in five])
    score = confidence / (1 + np.square(error / _TURNED))
    parts = np.array_split(np.arange(len(ids)), FRAMES)
    return np.array([ids[p[score[p].argmax()]] for p in parts if len(p)], dtype=int)


def encode(faces: np.ndarray, weights: Path, device: torch.device) -> np.ndarray:
    """Codes (n, 300) of aligned faces (n, 112, 112, 3) uint8 RGB.

    Raises:
        UserError: weights that are not MICA's, or codes that are not finite.
    """
    network = load_mica(weights, device)
    images = torch.from_numpy(faces).to(device).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        codes = network((images - 127.5) / 127.5).cpu().numpy()
    if not np.isfinite(codes).all():
        raise UserError(f"{weights}: gives codes that are not finite; download it again")
    return codes


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Least-squares similarity transform from `source` to `target` (Umeyama 1991).

    Args:
        source: (n, 2).
        target: (n, 2).

    Returns:
        (2, 3): target ~ M[:, :2] source + M[:, 2], never a mirror image.
    """
    a, b = source - source.mean(0), target - target.mean(0)
    left, scales, right = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, np.sign(np.linalg.det(left @ right))])
    turn = (left * signs) @ right * ((scales * signs).sum() / np.square(a).sum())
    return np.concatenate([turn, (target.mean(0) - turn @ source.mean(0))[:, None]], 1)


def template_error(five: np.ndarray) -> float:
    """Root mean square distance to the template after alignment, in pixels of the 112.

    Small for a face that looks into the camera.
    """
    fit = similarity(five, TEMPLATE)
    moved = five @ fit[:, :2].T + fit[:, 2]
    return float(np.sqrt(np.square(moved - TEMPLATE).sum(1).mean()))


def aligned_face(image: np.ndarray, five: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 image -> (112, 112, 3) uint8, black outside the image.

    Args:
        image: the image.
        five: (5, 2) continuous pixels (the first pixel's center is 0.5).
    """
    # The template, and OpenCV, count from the center of the first pixel.
    fit = similarity(five - 0.5, TEMPLATE)
    return cv2.warpAffine(image, fit, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
