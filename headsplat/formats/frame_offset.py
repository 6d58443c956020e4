"""Offset between image numbers and `.frame` numbers: given by the user, or measured.

Trackers number frames from 0, so image and frame numbers differ by a constant (0 to 2 in practice).
A wrong offset is a lag that later stages cannot distinguish from a bad track. The model's landmarks
are therefore compared with detected ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from headsplat.camera import project, vector_from_matrix
from headsplat.formats.frame_folder import FrameFolder
from headsplat.frames.images import read_image_file
from headsplat.heads.landmarks import compact, points
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_6d
from headsplat.runtime.errors import UserError
from headsplat.runtime.logs import log

# Tested offsets: -2 .. 2 around the expected one, plus one on each side to recognize a minimum at
# the border.
REACH = 3
SAMPLES = 40  # number of images with face detection
LEAST = 8  # minimum number of images with a face
SIGMAS = 4.0  # standard errors by which another offset must fit worse
_BATCH = 512
Detect = Callable[[np.ndarray], np.ndarray | None]


@dataclass(frozen=True)
class OffsetFit:
    """Landmark residuals by offset.

    Attributes:
        residual: offset -> root mean square landmark distance in pixels. The constant shift of each
            landmark is removed: detector and model place the same point 1 to 2 mm apart.
        best: the offset of the least residual.
        worse: the offsets that fit significantly worse than `best`.
        images: number of images with a face.
    """

    residual: Mapping[int, float]
    best: int
    worse: frozenset[int]
    images: int

    def describe(self, offset: int) -> str:
        """e.g. "1 (0.92 px)"."""
        return f"{offset} ({self.residual[offset]:.2f} px)"

    @property
    def inside(self) -> bool:
        """Whether `best` is an interior minimum of the tested offsets."""
        return min(self.residual) < self.best < max(self.residual)


def project_landmarks(head: HeadModel, frames: FrameFolder) -> tuple[np.ndarray, np.ndarray]:
    """(N, L, 2) pixels of the model's MediaPipe points, and (L,) which points they are."""
    geometry = HeadGeometry(head)
    vertex_ids, (marks,) = compact(head.landmarks["mediapipe"])
    values = {
        key: torch.as_tensor(getattr(frames, key), dtype=torch.float32)
        for key in ("shape", "exp", "jaw", "eyes", "eyelids", "R", "t", "K")
    }
    pixels = []
    for rows in torch.arange(len(frames.files)).split(_BATCH):
        vertices = geometry.vertices(
            values["shape"][0],
            values["exp"][rows],
            matrix_from_6d(values["jaw"][rows]),
            matrix_from_6d(values["eyes"][rows].reshape(-1, 2, 6)),
            values["eyelids"][rows],
            vertex_ids=torch.as_tensor(vertex_ids),
        )
        camera = vector_from_matrix(values["K"][rows])
        seen = project(points(vertices, marks), values["R"][rows], values["t"][rows], camera)
        pixels.append(seen[..., :2].numpy())
    return np.concatenate(pixels), marks.index


def measure_offset(
    head: HeadModel,
    frames: FrameFolder,
    images: Mapping[int, Path],
    center: int,
    detect: Detect | None,
) -> OffsetFit | None:
    """Find the offset, image number minus frame number, around `center`.

    Uses the images with the fastest head motion, spread over the clip.

    Returns:
        None without a detector, where too few images show a face, or the clip is too short.
    """
    if detect is None:
        return None
    model, index = project_landmarks(head, frames)
    offsets = range(center - REACH, center + REACH + 1)
    chosen = _fast_images(model, images, center)
    differences = []
    for number in chosen:
        found = detect(_open(images[number], frames.img_size))
        if found is not None:
            candidates = model[[number - offset for offset in offsets]]
            differences.append(candidates - found[index, :2])
    if len(differences) < LEAST:
        return None
    # (M images, D offsets, L points, 2)
    apart = np.stack(differences)
    apart -= apart.mean(0)
    cost = np.square(apart).sum(-1).mean(-1)
    best = int(cost.mean(0).argmin())
    excess = cost - cost[:, best : best + 1]
    error = excess.std(0, ddof=1) / np.sqrt(len(cost))
    worse = excess.mean(0) > SIGMAS * np.maximum(error, 1e-9)
    return OffsetFit(
        {offset: float(np.sqrt(c)) for offset, c in zip(offsets, cost.mean(0), strict=True)},
        offsets[best],
        frozenset(o for o, far in zip(offsets, worse, strict=True) if far),
        len(cost),
    )


def _fast_images(model: np.ndarray, images: Mapping[int, Path], center: int) -> list[int]:
    """At most `SAMPLES` image numbers whose candidates all exist, the fastest of each part."""
    first, stop = center + REACH, len(model) + center - REACH
    usable = np.array([n for n in range(first, stop) if n in images], dtype=int)
    if not len(usable):
        return []
    frame = usable - center
    speed = np.linalg.norm(model[frame + 1] - model[frame - 1], axis=-1).mean(-1)
    parts = np.array_split(np.arange(len(usable)), min(SAMPLES, len(usable)))
    return [int(usable[part[speed[part].argmax()]]) for part in parts]


def _open(path: Path, img_size: tuple[int, int]) -> np.ndarray:
    image = read_image_file(path)
    if image.shape[:2] != img_size:
        raise UserError(
            f"{path}: is {image.shape[1]} x {image.shape[0]} pixels, the track is of "
            f"{img_size[1]} x {img_size[0]}; give the images that the tracker saw"
        )
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, -1)


def resolve_offset(
    measured: OffsetFit | None, stated: int | None, usual: int | None, where: Path
) -> tuple[int, str]:
    """Choose the offset.

    Args:
        measured: result of `measure_offset`, or None.
        stated: offset in the column `frame_delta`, or None.
        usual: offset of the layout, or None.
        where: the folder of images, for messages.

    Returns:
        the offset, and one sentence for the notes.

    Raises:
        UserError: the landmarks contradict the stated or usual offset, or no offset can be
            determined.
    """
    expected = stated if stated is not None else usual
    said = "stated" if stated is not None else "the layout's"
    if measured is None:
        if expected is None:
            raise UserError(
                f"{where}: too few images show a face to measure which image belongs to which "
                ".frame; state image number minus frame number in the column 'frame_delta'"
            )
        return expected, f"frame_delta {expected} ({said}) was not measured: too few faces."
    log.info(
        "frame_delta: residual of the landmarks in %d images: %s",
        measured.images,
        ", ".join(measured.describe(offset) for offset in measured.residual),
    )
    best = measured.describe(measured.best)
    rivals = set(measured.residual) - measured.worse - {measured.best}
    if expected is not None and expected not in measured.worse:
        return expected, f"frame_delta {measured.describe(expected)} ({said}) fits the landmarks."
    if not measured.inside:
        low, high = min(measured.residual) + 1, max(measured.residual) - 1
        raise UserError(
            f"{where}: no frame_delta of {low} .. {high} fits these images; it lies beyond "
            f"{measured.best}: state image number minus frame number in the column 'frame_delta'"
        )
    if expected is not None:
        raise UserError(
            f"{where}: frame_delta {measured.describe(expected)}, {said}, does not fit these "
            f"images; {best} does: write that into the column 'frame_delta'"
        )
    if rivals:
        raise UserError(
            f"{where}: the head moves too little to tell frame_delta {best} from "
            f"{measured.describe(min(rivals))}; state it in the column 'frame_delta'"
        )
    return measured.best, f"frame_delta {best} was measured in {measured.images} images."
