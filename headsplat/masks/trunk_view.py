"""A view that stays with the trunk: where a point of collar and shoulders is in every frame.

The view is the image of one reference frame at working size, with a margin. Each of its pixels has
a place on a generic bust, which moves with the trunk's pose (with the head's where no trunk was
solved). So what is decided once in the view is carried to all frames by geometry.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from headsplat.gaussians.raster.triangles import interpolate, rasterize_triangles
from headsplat.heads.bust import Bust, bust
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.masks.bust_depth import bust_depth
from headsplat.masks.nearest import filled_from_nearest
from headsplat.runtime.errors import UserError
from headsplat.track import read_track

# Side of the frames that are looked at, pixels; the cut is a smooth line.
WORKING_SIDE = 256
# Margin of the view on each side, over the frames' side; nodes along a side; smoothing of their
# depth in nodes.
MARGIN, NODES, DEPTH_BLUR = 0.25, 49, 1.5
_BATCH = 16


class TrunkView:
    """The view of one clip.

    Args:
        head: the head model of the track.
        track: `track.npz`.
        reference: id of the frame whose view it is; None takes the one nearest to the median pose.

    Attributes:
        side: pixels of the square view.
        scale: working size over the track's.
        reference: id of the frame.
    """

    def __init__(self, head: HeadModel, track: Path, reference: int | None = None) -> None:
        found = read_track(track, head)
        pose = found.R, found.t
        if found.trunk_R is not None and found.trunk_t is not None:
            pose = found.trunk_R, found.trunk_t
        self._turn, self._place = (np.asarray(part, np.float64) for part in pose)
        self._row = {int(frame): row for row, frame in enumerate(found.ids)}
        ids = list(self._row)
        if not ids or len(ids) < len(found):
            raise UserError(f"{track}: has no frames, or one of them twice; track the clip again")
        if not (self._place[:, 2] > 0).all():
            frame = int(found.ids[(self._place[:, 2] <= 0).argmax()])
            raise UserError(
                f"{track}: the person is behind the camera in frame {frame}; track the clip again"
            )
        if reference is not None and reference not in self._row:
            raise UserError(f"{track}: lacks frame {reference}; decide the cut again")
        self.reference = ids[self._middle()] if reference is None else reference
        width = found.width
        self.scale = min(1.0, WORKING_SIDE / width)
        self._frame_side = round(width * self.scale)
        self._camera = np.asarray(found.K, np.float64)[:2] * self.scale
        self.side = round(self._frame_side * (1 + 2 * MARGIN))
        neutral = HeadGeometry(head).shaped(found.identity()).numpy()
        self._nodes = self._lift(bust(head, neutral))
        grid = np.linspace(0, self.side, NODES)
        across, down = np.meshgrid(grid, grid)
        self._painted = torch.as_tensor(np.stack([across, down], -1).reshape(-1, 2)).float()
        self._faces = torch.as_tensor(_grid_faces())

    def _middle(self) -> int:
        """Row of the pose nearest to the medians."""
        away = np.abs(self._place - np.median(self._place, 0)).sum(1)
        turned = np.abs(self._turn - np.median(self._turn, 0)).sum((1, 2))
        return int((turned + 3 * away).argmin())

    def _lift(self, shape: Bust) -> np.ndarray:
        """(NODES, NODES, 3) places of the view's nodes in trunk space."""
        row = self._row[self.reference]
        turn, place = self._turn[row], self._place[row]
        focal, middle = self._camera[[0, 1], [0, 1]], self._camera[:, 2]
        moved = middle + MARGIN * self._frame_side
        pose = (torch.from_numpy(part).float() for part in (turn, place))
        camera = torch.from_numpy(np.concatenate([focal, moved])).float()
        depth, _ = bust_depth(shape, *pose, camera, (self.side, self.side))
        grid = np.linspace(0, self.side, NODES)
        at = grid.astype(int).clip(0, self.side - 1)
        depth = gaussian_filter(depth[np.ix_(at, at)], DEPTH_BLUR, mode="nearest")[..., None]
        across, down = np.meshgrid(grid, grid)
        nodes = np.stack([across, down], -1)
        placed = np.concatenate([(nodes - moved) / focal * depth, depth], -1)
        return (placed - place) @ turn

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        return points @ self._camera.T / points[..., 2:]

    def _posed(self, frame: int) -> np.ndarray:
        """(NODES, NODES, 3) x and y in working pixels, and depth, in one frame."""
        row = self._row[frame]
        camera = self._nodes @ self._turn[row].T + self._place[row]
        return np.concatenate([self._pixels(camera), camera[..., 2:]], -1)

    def seen(self, frame: int, planes: np.ndarray) -> np.ndarray:
        """Planes of a frame, looked up in the view: (side, side, C) float32, 0 beyond the frame.

        Args:
            frame: its id.
            planes: (H, W, C) at working size.
        """
        # Nodes are on the view's borders, and in equal steps between.
        at = ((np.arange(self.side) + 0.5) * ((NODES - 1) / self.side)).astype(np.float32)
        nodes = self._posed(frame)[..., :2].astype(np.float32)
        places = cv2.remap(nodes, *np.meshgrid(at, at), cv2.INTER_LINEAR)
        return cv2.remap(planes.astype(np.float32), places - 0.5, None, cv2.INTER_LINEAR)

    def carried(self, frames: Sequence[int], planes: np.ndarray) -> Iterator[np.ndarray]:
        """Planes of the view as each frame shows them, (H, W, C) float32 at working size.

        Args:
            frames: ids.
            planes: (side, side, C); the border continues beyond.
        """
        planes = planes.astype(np.float32)
        for first in range(0, len(frames), _BATCH):
            part = frames[first : first + _BATCH]
            nodes = np.stack([self._posed(frame).reshape(-1, 3) for frame in part])
            side = self._frame_side
            face, bary = rasterize_triangles(
                torch.as_tensor(nodes).float(), self._faces, side, side
            )
            places = interpolate(face, bary, self._faces, self._painted).numpy()
            for place, covered in zip(places, (face >= 0).numpy(), strict=True):
                place = filled_from_nearest(place, covered)
                yield cv2.remap(planes, place - 0.5, None, cv2.INTER_LINEAR,
                                borderMode=cv2.BORDER_REPLICATE)  # fmt: skip


def _grid_faces() -> np.ndarray:
    """(F, 3) triangles of the grid of nodes."""
    row, column = np.mgrid[: NODES - 1, : NODES - 1]
    first = row * NODES + column
    lower = first + NODES
    upper = np.stack([first, lower, first + 1], -1)
    return np.concatenate([upper, np.stack([first + 1, lower, lower + 1], -1)]).reshape(-1, 3)
