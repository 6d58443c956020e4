"""How well the trunk's pose explains the motion that the images show on collar and shoulders."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from headsplat.heads.model import HeadModel
from headsplat.track import Track
from headsplat.tracking.trunk.flow import SmallFrame, SmallFrames, follow
from headsplat.tracking.trunk.surface import Shown, TrunkSurface, projected, shown_points

# Distance of the compared frames, and every how many frames.
DISTANCES, EVERY = (1, 16), 4
# Points count where both axes are textured this well, in 0..1.
TEXTURE = 0.5
# Stands in for the trunk's pose in the comparison.
STIFF = "stiff"


def trunk_residuals(
    head: HeadModel, track: Track, frames: Path, mattes: Path
) -> dict[str, dict[str, float]]:
    """Distance between optical flow and poses, pixels of the crop, over points of a clip.

    Args:
        head: of the track.
        track: with the trunk's poses.
        frames: folder of the crops.
        mattes: folder of the mattes.

    Returns:
        "trunk" and "stiff" (the trunk moves with the head) -> median and 95th percentile for each
        distance between frames, and the number of points.
    """
    surface = TrunkSurface(head, track)
    zips = (sorted(folder.glob("*.zip")) for folder in (frames, mattes))
    with SmallFrames(*zips, track.width) as images:
        meter = _Meter(surface, track, images)
        return {name: meter.measure(pose) for name, pose in meter.poses.items()}


class _Meter:
    """Points of some frames and where flow finds them, compared with poses."""

    def __init__(self, surface: TrunkSurface, track: Track, images: SmallFrames) -> None:
        trunk, head = (track.trunk_R, track.trunk_t), (track.R, track.t)
        self.poses = {
            name: tuple(np.asarray(part, np.float64) for part in pose)
            for name, pose in (("trunk", trunk), (STIFF, head))
        }
        self._camera = np.asarray(track.K, np.float64) * [[images.scale], [images.scale], [1]]
        self._scale = images.scale
        self._found = {d: list(self._matches(surface, track, images, d)) for d in DISTANCES}

    def _matches(
        self, surface: TrunkSurface, track: Track, images: SmallFrames, distance: int
    ) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        """First and second row, points (n, 3) in the first camera, and their pixels (n, 2)."""
        ids = track.ids
        for first in range(0, len(track) - distance, EVERY):
            second = first + distance
            if ids[second] - ids[first] != distance:
                continue  # a cut, or frames that were dropped
            before, after = (images.read(int(ids[row])) for row in (first, second))
            shown = self._shown(surface, track, first, before)
            if not len(shown.rows):
                continue
            found = follow(before, after, shown.pixels)
            sure = np.linalg.eigvalsh(found.information)[:, 0] > TEXTURE
            yield first, second, shown.camera[found.kept][sure], found.pixels[sure]

    def _shown(self, surface: TrunkSurface, track: Track, row: int, frame: SmallFrame) -> Shown:
        turn, place = track.R[row], track.t[row]
        hulls = [part[0] @ turn.T + place for part in surface.outlines(np.array([row]))]
        pose = tuple(part[row] for part in self.poses["trunk"])
        return shown_points(surface, pose, hulls, self._camera, frame.matte)

    def measure(self, pose: tuple[np.ndarray, ...]) -> dict[str, float]:
        """The figures of one pose of the trunk."""
        turn, place = pose
        figures: dict[str, float] = {}
        for distance, found in self._found.items():
            errors = []
            for first, second, points, pixels in found:
                own = (points - place[first]) @ turn[first]
                there = projected(own @ turn[second].T + place[second], self._camera)
                errors.append(np.linalg.norm(there - pixels, axis=1) / self._scale)
            all_errors = np.concatenate(errors)
            figures[f"median_{distance}"] = float(np.median(all_errors))
            figures[f"p95_{distance}"] = float(np.percentile(all_errors, 95))
            figures[f"points_{distance}"] = len(all_errors)
        return figures
