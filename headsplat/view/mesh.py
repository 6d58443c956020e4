"""The tracked mesh and its landmarks, frame by frame, as small files for the page."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from headsplat.camera import project, vector_from_matrix
from headsplat.frames.crop import Crop
from headsplat.heads.landmarks import MEDIAPIPE_GROUPS, pick, points
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_6d
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz
from headsplat.track import Track, read_track
from headsplat.view.clip import track_file
from headsplat.view.files import SubjectFiles
from headsplat.web.container import write_payload

_STEPS = 32767  # of a 16-bit number
_PART = 16  # of a pixel, in which landmarks are stored
_NONE = -32768  # a landmark that was not detected
_LINES = ("left_eye", "right_eye", "lips_outer", "lips_inner")


def mesh_files(files: SubjectFiles) -> list[Path]:
    """The files that a `TrackedMesh` depends on; empty before there is a track."""
    track = track_file(files)
    if track is None:
        return []
    others = [files.file(name) for name in ("landmarks", "crop")]
    return [track, *(path for path in others if path is not None), *head_files(files)]


def head_files(files: SubjectFiles) -> list[Path]:
    """Head models that may be the subject's: the avatar's copy, then those of the project."""
    own = files.file("model/head.npz")
    return [*([own] if own is not None else []), *files.listed("heads")]


def head_of(name: str, version: str, candidates: Sequence[Path]) -> HeadModel:
    """The head model that made a track or an avatar.

    Raises:
        UserError: none of the files holds it.
    """
    from headsplat.runtime.npz import Npz
    from headsplat.runtime.zips import BROKEN

    for path in candidates:
        try:
            with Npz(path) as archive:
                found = tuple(str(archive.read(key)) for key in ("name", "version"))
        except BROKEN:
            continue
        if found == (name, version):
            return HeadModel.load(path)
    raise UserError(f"the head model {name} {version} is not in work/heads; run the subject again")


class TrackedMesh:
    """Posed meshes of one track.

    Args:
        files: of the subject.

    Attributes:
        track: of the clip.

    Raises:
        UserError: there is no track yet, or a file cannot be used.
    """

    def __init__(self, files: SubjectFiles) -> None:
        path = track_file(files)
        if path is None:
            raise UserError("the clip is not tracked yet; wait for its run")
        self.track: Track = read_track(path)
        head = head_of(self.track.head_name, self.track.head_version, head_files(files))
        self._geometry = HeadGeometry(head)
        self._neutral = self._geometry.shaped(self.track.identity())
        known = tuple(i for group in MEDIAPIPE_GROUPS.values() for i in group)
        self._marks = pick(head.landmarks["mediapipe"], known)
        self._camera = vector_from_matrix(torch.as_tensor(self.track.K))
        self._trunk = self.track.trunk()
        self._row = {int(frame): row for row, frame in enumerate(self.track.ids)}
        self._detected = _detected(files, self.track)

    def surface(self) -> bytes:
        """What all frames share.

        JSON: `scale`, meters of a step, and `lines`, rows of landmarks of eyes and lips. Arrays:
        faces (F, 3) u4, edges (L, 2) u4, and rest (V, 3) i2, the neutral head.
        """
        faces = self._geometry.faces.numpy()
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        edges = np.unique(np.sort(edges, 1), axis=0)
        rest, scale = _in_steps(self._neutral.numpy())
        place = {int(mark): row for row, mark in enumerate(self._marks.index)}
        lines = [
            [place[mark] for mark in MEDIAPIPE_GROUPS[name] if mark in place] for name in _LINES
        ]
        arrays = {"faces": faces.astype(np.uint32), "edges": edges.astype(np.uint32), "rest": rest}
        return write_payload({"counts": {}, "scale": scale, "lines": lines}, arrays)

    def frame(self, frame_id: int) -> bytes | None:
        """One frame, or None where the track lacks it.

        JSON: `scale`, meters of a step. Arrays: vertices (V, 3) i2 in the head's frame; marks
        (n, 2) i2, the model's landmarks, and detected (m, 2) i2, in 1/16 pixel of the image.
        """
        row = self._row.get(frame_id)
        if row is None:
            return None
        track = self.track

        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.as_tensor(array[row : row + 1])

        with torch.no_grad():
            vertices = self._geometry.vertices(
                track.identity(),
                tensor(track.exp),
                matrix_from_6d(tensor(track.jaw)),
                matrix_from_6d(tensor(track.eyes).reshape(-1, 2, 6)),
                tensor(track.eyelids),
                trunk=None if self._trunk is None else self._trunk[row : row + 1],
            )
            pose = tensor(track.R), tensor(track.t)
            marks = project(points(vertices, self._marks), *pose, self._camera)[0, :, :2]
        steps, scale = _in_steps(vertices[0].numpy())
        arrays = {"vertices": steps, "marks": _pixels(marks.numpy())}
        if self._detected is not None:
            arrays["detected"] = _pixels(self._detected[row])
        return write_payload({"counts": {}, "scale": scale}, arrays)


def _detected(files: SubjectFiles, track: Track) -> np.ndarray | None:
    """(N, 478, 2) detected points in pixels of the images, NaN where there are none."""
    landmarks, crop = files.file("landmarks"), files.file("crop")
    if landmarks is None or crop is None:
        return None
    arrays = read_npz(landmarks, ("ids", "points"))
    ids, found = arrays["ids"], arrays["points"]
    if ids.ndim != 1 or found.ndim != 3 or len(found) != len(ids) or found.shape[2] < 2:
        return None
    where = {int(frame): row for row, frame in enumerate(ids.tolist())}
    rows = np.array([where.get(int(frame), -1) for frame in track.ids])
    points_there = Crop.load(crop).points(found[..., :2])
    out = np.full((len(rows), *points_there.shape[1:]), np.nan, np.float32)
    out[rows >= 0] = points_there[rows[rows >= 0]]
    return out


def _in_steps(values: np.ndarray) -> tuple[np.ndarray, float]:
    """(..., 3) meters -> int16 steps, and meters of a step."""
    scale = float(np.abs(values).max()) / _STEPS or 1.0
    return np.rint(values / scale).astype(np.int16), scale


def _pixels(values: np.ndarray) -> np.ndarray:
    steps = np.where(np.isfinite(values), np.rint(values * _PART).clip(1 + _NONE, _STEPS), _NONE)
    return steps.astype(np.int16)
