"""The tracked mesh and landmarks drawn over the pictures, for the eye.

A minute of film takes more than a minute, so it is made in parts that stay in keyed scratch until
the whole is joined; what was cut off goes on behind the last complete part.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headsplat.camera import project, vector_from_matrix
from headsplat.crop import Crop
from headsplat.files import FrameStore, read_npz, require_same_ids
from headsplat.heads.landmarks import MEDIAPIPE_GROUPS, pick, points
from headsplat.heads.model import HeadModel
from headsplat.heads.normals import vertex_normals
from headsplat.heads.skinning import HeadGeometry
from headsplat.images import decode_image
from headsplat.raster.triangles import interpolate, rasterize_triangles
from headsplat.rotations import matrix_from_6d
from headsplat.scratch import Scratch, state_key
from headsplat.track_io import Track, check_head, read_track
from headsplat.video.encode import VideoWriter
from headsplat.video.join import join_films
from headsplat.video.parts import FilmParts

BATCH = 8
# Shares of the shaded mesh over the picture, and of what is left of both under grid lines.
SHADE, LINE = 0.45, 0.7
# Lines painted on the resting head show whether the mesh swims: metres apart, pixels wide.
GRID, WIDTH = 0.01, 1.2
DETECTED, MODEL = (255, 70, 70), (60, 255, 120)


class Overlay:
    """Draws frames of one track.

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
        # Lines of equal x and y; depth would only crowd the picture.
        self._rest = torch.as_tensor(head.template[:, :2])
        self._camera = vector_from_matrix(torch.as_tensor(track.K))

    def draw(self, rows: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Pictures with the mesh half over them, model points green, detected points red.

        Args:
            rows: (n,) rows of the track.
            images: (n, H, W, 3) uint8.

        Returns:
            (n, H, W, 3) uint8.
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
        )
        rotation, translation = tensor(track.R), tensor(track.t)
        screen = project(vertices, rotation, translation, self._camera)
        height, width = images.shape[1:3]
        faces = self._geometry.faces
        face, bary = rasterize_triangles(screen, faces, width, height, cull_backfaces=True)
        normals = vertex_normals(vertices @ rotation.mT, faces)
        facing = -interpolate(face, bary, faces, normals)[..., 2:].clamp(-1, 0)
        base = torch.as_tensor(images).float()
        grey = 90 + 150 * facing
        covered = (face >= 0)[..., None]
        mixed = torch.where(covered, base * (1 - SHADE) + grey * SHADE, base)
        rest = interpolate(face, bary, faces, self._rest)
        pixels = self._camera[0] / translation[:, 2]
        beside = (rest / GRID - (rest / GRID).round()).abs() * GRID * pixels[:, None, None, None]
        line = covered & (beside < WIDTH / 2).any(-1, keepdim=True)
        mixed = torch.where(line, mixed * LINE, mixed)
        drawn = mixed.clamp(0, 255).to(torch.uint8).numpy()
        model = project(points(vertices, self._marks), rotation, translation, self._camera)
        for k, row in enumerate(rows):
            _dots(drawn[k], self._landmarks[row][self._marks.index], DETECTED)
            _dots(drawn[k], model[k].numpy(), MODEL)
        return drawn


def _dots(image: np.ndarray, where: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Two by two pixels at each finite point that lies in the picture."""
    where = where[np.isfinite(where[:, :2]).all(1), :2]
    corner = np.floor(where - 0.5).astype(int)
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            inside = (x >= 0) & (y >= 0) & (x < image.shape[1]) & (y < image.shape[0])
            image[y[inside], x[inside]] = colour


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
        track_path: what to draw.
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
            with VideoWriter(path, width, height, rate) as writer:
                for batch in np.split(rows, np.arange(BATCH, len(rows), BATCH)):
                    images = [decode_image(store.read(int(i))) for i in track.ids[batch]]
                    for picture in overlay.draw(batch, np.stack(images)):
                        writer.write(picture)

        inputs = [head_path, track_path, landmarks, crop, *frames]
        scratch = Scratch(scratch_root, state_key(inputs, {}, code))
        (films,) = FilmParts(scratch.folder).complete(len(everything), draw)
    join_films(films, out, rate)
    scratch.clear()
