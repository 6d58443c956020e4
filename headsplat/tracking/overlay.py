"""Overlay video: the tracked mesh, the bust on the trunk, and landmarks drawn over the images.

The video is made in parts that stay in keyed scratch until all are joined. An interrupted run
continues after the last complete part.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from headsplat.camera import project, vector_from_matrix
from headsplat.frames.crop import Crop
from headsplat.frames.images import decode_image
from headsplat.frames.packs import FrameStore, require_same_ids
from headsplat.gaussians.raster.triangles import interpolate, rasterize_triangles
from headsplat.heads.bust import bust
from headsplat.heads.landmarks import MEDIAPIPE_GROUPS, pick, points
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_6d
from headsplat.runtime.files import read_npz
from headsplat.runtime.scratch import Scratch, state_key
from headsplat.track import Track, check_head, read_track
from headsplat.video.encode import VideoWriter
from headsplat.video.join import join_videos
from headsplat.video.parts import VideoParts

BATCH = 8
# Crops smaller than this are shown at twice their size, so that lines are thin relative to an eye.
LEAST_HEIGHT = 512
# Grid on the head surface, which shows drift of the mesh: spacing in meters, and opacity.
GRID, STRENGTH = 0.01, 0.33
BUST_GRID, BUST_STRENGTH = 0.02, 0.5  # of the bust, relative to the head's
# Distances from eyes and mouth, as shares of their half width, where the grid fades in.
CLEAR, FULL = 1.3, 1.8
MESH, DETECTED, MODEL = (20, 130, 255), (255, 60, 60), (60, 255, 120)
TRUNK = (255, 170, 40)
LINE = 0.75  # opacity of the model's lines
SHIFT = 4  # OpenCV draws at 1/16 pixel
RADIUS = 12  # of a dot, in these
_CORNERS = ("left_eye", "right_eye", "lips_outer")
_CLOSED = (
    *(MEDIAPIPE_GROUPS[name] for name in (*_CORNERS, "lips_inner")),
    (276, 283, 282, 295, 285, 336, 296, 334, 293, 300),
    (46, 53, 52, 65, 55, 107, 66, 105, 63, 70),
)
_OPEN = ((168, 6, 197, 195, 5, 4), (129, 98, 97, 2, 326, 327, 358))
_IRISES = (MEDIAPIPE_GROUPS["left_iris"][1:], MEDIAPIPE_GROUPS["right_iris"][1:])


class Overlay:
    """Draws overlays of one track.

    Args:
        head: the head model of the track.
        track: what to draw.
        landmarks: (N, 478, 2+) detected points in crop pixels, rows as in the track.
    """

    def __init__(self, head: HeadModel, track: Track, landmarks: np.ndarray) -> None:
        check_head(track, head.name, head.version)
        self._track, self._landmarks = track, landmarks
        self._geometry = HeadGeometry(head)
        known = tuple(i for group in MEDIAPIPE_GROUPS.values() for i in group)
        self._marks = pick(head.landmarks["mediapipe"], known)
        self._place = {int(mark): row for row, mark in enumerate(self._marks.index)}
        rest = torch.as_tensor(head.template)
        # Grid lines of equal x and y only; lines of equal z would clutter the image.
        self._painted = torch.cat([rest[:, :2] / GRID, self._away(rest)[:, None]], 1)
        self._camera = vector_from_matrix(torch.as_tensor(track.K))
        self._trunk = track.trunk()
        self._faces, self._heads = self._geometry.faces, len(self._geometry.faces)
        if self._trunk is not None:
            self._add_bust(head)

    def _add_bust(self, head: HeadModel) -> None:
        """Append the bust's faces and its grid."""
        made = bust(head, self._geometry.shaped(self._track.identity()).numpy())
        self._bust = torch.from_numpy(made.vertices)
        faces = torch.from_numpy(made.faces).long() + len(self._painted)
        self._faces = torch.cat([self._faces, faces])
        grid = self._bust[:, :2] / BUST_GRID
        strength = torch.full_like(grid[:, :1], BUST_STRENGTH)
        self._painted = torch.cat([self._painted, torch.cat([grid, strength], 1)])

    @property
    def scale(self) -> int:
        """How many times larger than the crop the images are."""
        return 2 if self._track.img_size[0] < LEAST_HEIGHT else 1

    def _away(self, rest: Tensor) -> Tensor:
        """(V,) opacity of the grid, 0 around eyes and mouth."""
        strength = torch.ones(len(rest))
        marks = points(rest[None], self._marks)[0]
        for name in _CORNERS:
            rows = self._rows(MEDIAPIPE_GROUPS[name])
            if len(rows) < 3:
                continue
            center = marks[rows].mean(0)
            reach = (marks[rows] - center).norm(dim=1).max()
            beyond = (rest - center).norm(dim=1) / reach
            strength = strength.minimum(((beyond - CLEAR) / (FULL - CLEAR)).clamp(0, 1))
        return strength

    def _rows(self, wanted: Sequence[int]) -> list[int]:
        """Rows of those landmarks that the head model has."""
        return [self._place[mark] for mark in wanted if mark in self._place]

    def draw(self, rows: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Images with outline and grid of the mesh, model lines green, detected points red.

        Of a track with a trunk the bust is drawn too, in orange.

        Args:
            rows: (n,) rows of the track.
            images: (n, H, W, 3) uint8.

        Returns:
            (n, s H, s W, 3) uint8, s being `scale`.
        """
        track = self._track

        def tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array[rows])

        vertices = self._geometry.vertices(
            torch.as_tensor(track.shape),
            tensor(track.exp),
            matrix_from_6d(tensor(track.jaw)),
            matrix_from_6d(tensor(track.eyes).reshape(-1, 2, 6)),
            tensor(track.eyelids),
            trunk=None if self._trunk is None else self._trunk[rows],
        )
        rotation, translation = tensor(track.R), tensor(track.t)
        surface = vertices
        if self._trunk is not None:
            trunk = self._trunk[rows]
            moved = self._bust @ trunk[..., :3].mT + trunk[:, None, :, 3]
            surface = torch.cat([vertices, moved], 1)
        screen = project(surface, rotation, translation, self._camera)
        height, width = images.shape[1:3]
        faces = self._faces
        face, bary = rasterize_triangles(screen, faces, width, height, cull_backfaces=True)
        mesh, below = (face >= 0) & (face < self._heads), face >= self._heads
        base = torch.as_tensor(images).float()
        # Process only the part of the image that the head covers.
        part = (slice(None), *(_extent((face >= 0).any(0).any(1 - axis)) for axis in (0, 1)))
        grid = _grid_lines(interpolate(face[part], bary[part], faces, self._painted))
        inks = torch.tensor([MESH, TRUNK]).float()[below[part].long()]
        base[part] = torch.lerp(base[part], inks, grid)
        base = base.byte().numpy()
        model = project(points(vertices, self._marks), rotation, translation, self._camera)
        drawn = []
        for k, row in enumerate(rows):
            image = _enlarged(base[k], self.scale)
            _outline(image, below[k].numpy(), self.scale, TRUNK)
            _outline(image, mesh[k].numpy(), self.scale, MESH)
            self._lines(image, model[k].numpy() * self.scale)
            _dots(image, self._landmarks[row][self._marks.index] * self.scale, DETECTED)
            drawn.append(image)
        return np.stack(drawn)

    def _lines(self, image: np.ndarray, marks: np.ndarray) -> None:
        """The model's lids, irises, lips, brows and nose, half transparent, in place."""
        ink = image.copy()
        curves = [(marks[self._rows(loop)], True) for loop in _CLOSED]
        curves += [(marks[self._rows(line)], False) for line in _OPEN]
        curves += [(_ellipse(marks[self._rows(iris)]), True) for iris in _IRISES]
        for curve, closed in curves:
            if len(curve) > 1 and np.isfinite(curve).all():
                cv2.polylines(ink, [_fixed(curve)], closed, MODEL, 1, cv2.LINE_AA, SHIFT)
        cv2.addWeighted(ink, LINE, image, 1 - LINE, 0, image)


def _extent(covered: Tensor) -> slice:
    """(n,) bool -> slice from the first to the last true entry, or the first entry."""
    where = covered.nonzero()
    return slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 1)


def _grid_lines(painted: Tensor) -> Tensor:
    """(n, H, W, 1) opacity: lines one pixel wide, fading where they are too dense.

    Args:
        painted: (n, H, W, 3) grid coordinates and strength of the visible surface, else zeros.
    """
    where = painted[..., :2]
    across = torch.zeros_like(where)
    across[:, :, 1:] += (where[:, :, 1:] - where[:, :, :-1]).square()
    across[:, 1:] += (where[:, 1:] - where[:, :-1]).square()
    spacing = across.sqrt_().clamp_min_(1e-6).reciprocal_()  # pixels between lines
    beside = (where - where.round()).abs_() * spacing
    lines = (1 - beside).clamp_(0, 1) * ((spacing - 2) / 4).clamp_(0, 1)
    return lines.amax(-1, keepdim=True) * painted[..., 2:] * STRENGTH


def _enlarged(image: np.ndarray, scale: int) -> np.ndarray:
    """A copy of an image, `scale` times as large."""
    if scale == 1:
        return image.copy()
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def _outline(
    image: np.ndarray, covered: np.ndarray, scale: int, color: tuple[int, int, int]
) -> None:
    """A mesh's silhouette, in place."""
    mask = covered.astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        # Smooth the staircase of whole pixels.
        curve = np.stack([np.roll(contour[:, 0], k, 0) for k in range(-2, 3)]).mean(0)
        curve = _fixed((curve + 0.5) * scale)
        cv2.polylines(image, [curve], True, color, 1, cv2.LINE_AA, SHIFT)


def _ellipse(rim: np.ndarray) -> np.ndarray:
    """Points of the ellipse through four consecutive points of a rim."""
    if len(rim) != 4:
        return rim[:0]
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)[:, None]
    wide, high = (rim[0] - rim[2]) / 2, (rim[1] - rim[3]) / 2
    return rim.mean(0) + np.cos(turn) * wide + np.sin(turn) * high


def _fixed(curve: np.ndarray) -> np.ndarray:
    """Pixels (first center at 0.5) to OpenCV's fixed-point coordinates (center at 0)."""
    return np.round((curve[:, :2] - 0.5) * 2**SHIFT).astype(np.int32)[:, None]


def _dots(image: np.ndarray, where: np.ndarray, color: tuple[int, int, int]) -> None:
    """A dot at each finite point."""
    where = where[np.isfinite(where[:, :2]).all(1), :2]
    for x, y in _fixed(where)[:, 0].tolist():
        cv2.circle(image, (x, y), RADIUS, color, -1, cv2.LINE_AA, SHIFT)


def overlay_track(
    head_path: Path,
    track_path: Path,
    landmarks: Path,
    crop: Path,
    frames: list[Path],
    scratch_root: Path,
    out: Path,
    code: str,
) -> None:
    """Publish an mp4 of all frames with the overlay.

    Args:
        head_path: head model of the track.
        track_path: track to draw.
        landmarks: detected points of the clip.
        crop: window in which the frames were cut.
        frames: packed crops.
        scratch_root: folder of resumable state.
        out: mp4 to write.
        code: version of the code, part of the key.

    Raises:
        UserError: a track of another head model, or frame ids that do not join.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    track = read_track(track_path)
    arrays = read_npz(landmarks, ("ids", "points"))
    window = Crop.load(crop)
    with FrameStore(frames) as store:
        require_same_ids({"track": track.ids, "frames": store.ids, "landmarks": arrays["ids"]})
        order = np.argsort(arrays["ids"])
        where = order[np.searchsorted(arrays["ids"], track.ids, sorter=order)]
        overlay = Overlay(HeadModel.load(head_path), track, window.points(arrays["points"][where]))
        height, width = (int(n) for n in track.img_size)
        rate = Fraction(track.fps).limit_denominator(1001)
        everything = np.arange(len(track.ids))

        def draw(part: slice, path: Path) -> None:
            rows = everything[part]
            size = overlay.scale * width, overlay.scale * height
            with VideoWriter(path, *size, rate, quick=True) as writer:
                for batch in np.split(rows, np.arange(BATCH, len(rows), BATCH)):
                    images = [decode_image(store.read(int(i))) for i in track.ids[batch]]
                    for image in overlay.draw(batch, np.stack(images)):
                        writer.write(image)

        inputs = [head_path, track_path, landmarks, crop, *frames]
        scratch = Scratch(scratch_root, state_key(inputs, {}, code))
        (videos,) = VideoParts(scratch.folder).complete(len(everything), draw)
    join_videos(videos, out, rate)
    scratch.clear()
