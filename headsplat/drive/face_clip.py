"""The face of one person over time, as the source or the target of a transfer."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headsplat.drive.face_mesh import FaceMesh
from headsplat.heads.skinning import HeadGeometry
from headsplat.track import Track

# Angle between the face's axis and the direction to the camera.
FRONTAL = np.deg2rad(20.0)


@dataclass(frozen=True)
class FaceClip:
    """N frames of one person's face.

    Attributes:
        name: of the clip in messages, such as its path.
        codes: (N, C) float64 frame codes in the order of time.
        times: (N,) seconds, increasing.
        ids: (N,) int64, numbers by which users name the frames.
        usable: (N,) bool: the codes are those of a face that was seen well; true of one or more.
        mesh: the person.
        neutral: (C,) code of the neutral face, where it is known; None to find it in the frames.
    """

    name: str
    codes: Tensor
    times: Tensor
    ids: Tensor
    usable: Tensor
    mesh: FaceMesh
    neutral: Tensor | None = None

    @classmethod
    def from_track(cls, name: str, track: Track, geometry: HeadGeometry) -> "FaceClip":
        """The face of a track; usable are detected faces within `FRONTAL` of the camera.

        Seen from the side, the codes of a track depend on the head's turn.
        """
        order = torch.from_numpy(np.argsort(track.ids))
        seen = ~track.interpolated if not track.interpolated.all() else track.interpolated
        usable = seen & (-track.R[:, 2, 2] > np.cos(FRONTAL))
        ids = torch.from_numpy(track.ids.astype("i8"))[order]
        return cls(
            name,
            track.codes(torch.float64).vector[order],
            (ids.double() - 1) / track.fps,
            ids,
            torch.from_numpy(usable if usable.any() else seen)[order],
            FaceMesh(geometry, torch.from_numpy(track.shape)),
        )

    @classmethod
    def from_codes(
        cls,
        name: str,
        codes: Tensor,
        times: Tensor,
        mesh: FaceMesh,
        neutral: Tensor | None = None,
    ) -> "FaceClip":
        """A face of which only the codes are known, as a person of the given form shows them.

        Frames are numbered from 1. Arguments are as of the class.
        """
        count = len(codes)
        usable = torch.ones(count, dtype=torch.bool)
        return cls(name, codes, times, torch.arange(1, count + 1), usable, mesh, neutral)

    def speed(self) -> Tensor:
        """(N,) root mean square speed of the landmarks between a frame's neighbors, m/s."""
        rows = torch.arange(len(self.codes))
        before, after = (rows - 1).clamp(min=0), (rows + 1).clamp(max=len(rows) - 1)
        moves = zip(
            self.mesh.points(self.codes[after]), self.mesh.points(self.codes[before]), strict=True
        )
        moved = torch.cat([(a - b).square().sum(-1).mean(1).sqrt() for a, b in moves])
        return moved / (self.times[after] - self.times[before]).clamp(min=1e-9)


def ranked(values: Tensor, share: float) -> Tensor:
    """(N, ...) -> (...): the value below which a share of the N lies; no limit of size."""
    return values.kthvalue(max(1, round(share * len(values))), dim=0).values
