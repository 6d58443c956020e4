"""Gaussians of one frame as files of other tools hold them, and how they turn with the head."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from headsplat.avatar import Avatar
from headsplat.gaussians.deform.base import Gaussians
from headsplat.gaussians.sh import constant_coefficient
from headsplat.rotations import matrix_from_quaternion, quaternion_from_matrix
from headsplat.runtime.errors import UserError

HARMONICS = 16  # coefficients of a channel, degree 3
# Directions in which harmonics are compared when they are turned; more than coefficients.
_DIRECTIONS = 64
_FARTHEST = 2000.0  # meters; what .spz holds, and far beyond any head


@dataclass(frozen=True)
class Splats:
    """N Gaussians, float32 on the CPU.

    Attributes:
        means: (N, 3) meters.
        quats: (N, 4) unit quaternions (w, x, y, z).
        scales: (N, 3) standard deviations, meters.
        opacities: (N,) in 0..1.
        harmonics: (N, 16, 3) coefficients of degree 3, in 3DGS's order and signs.
    """

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    harmonics: Tensor

    def __len__(self) -> int:
        return len(self.means)

    @property
    def degree(self) -> int:
        """Highest degree of the harmonics that is not zero everywhere."""
        used = [d for d in range(1, 4) if self.harmonics[:, d * d : (d + 1) ** 2].any()]
        return max(used, default=0)

    def moved(self, rotation: Tensor, translation: Tensor) -> "Splats":
        """The same Gaussians in another frame.

        Args:
            rotation: (3, 3) from this frame to the other.
            translation: (3,) meters.
        """
        rotation = rotation.float()
        axes = rotation @ matrix_from_quaternion(self.quats)
        harmonics = self.harmonics
        if self.degree:
            harmonics = _turn(rotation) @ harmonics
        means = self.means @ rotation.T + translation.float()
        return replace(self, means=means, quats=quaternion_from_matrix(axes), harmonics=harmonics)


@torch.no_grad()
def posed(
    avatar: Avatar,
    condition: Tensor,
    rotation: Tensor,
    translation: Tensor,
    trunk: Tensor | None = None,
) -> list[Splats]:
    """Gaussians of some frames in the head's frame, the torso's after the head's.

    Args:
        avatar: the avatar.
        condition: (B, C) codes.
        rotation: (B, 3, 3) head to OpenCV camera.
        translation: (B, 3) meters.
        trunk: (B, 3, 4) trunk to head, or None for a stiff neck.
    """
    moves = [v.to(avatar.device) for v in (condition, rotation, translation)]
    trunk = None if trunk is None else trunk.to(avatar.device)
    head = avatar.gaussians(*moves, trunk, head_only=True)
    torso = None if avatar.torso is None else avatar.torso(moves[1], trunk)
    frames = []
    for row in range(len(condition)):
        one = _frame(head, row)
        harmonics = torch.zeros(avatar.count, HARMONICS, 3)
        known = avatar.deformation.harmonics(one)
        harmonics[: len(known), : known.shape[1]] = known.cpu()
        if torso is not None:
            below = _frame(torso, row)
            harmonics[len(known) :, 0] = constant_coefficient(below.colors[0]).cpu()
            one = one.joined(below)
        frames.append(_splats(one, harmonics))
    return frames


def require_near(path: Path, splats: Splats) -> float:
    """The largest coordinate of the Gaussians, meters.

    Args:
        path: of the file that is to hold them.
        splats: of one frame.

    Raises:
        UserError: one is more than 2 km away, or nowhere.
    """
    reach = float(splats.means.abs().max())
    if not reach < _FARTHEST:
        raise UserError(f"{path}: a Gaussian is {reach:.3g} m away; train the avatar again")
    return reach


def _frame(gaussians: Gaussians, row: int) -> Gaussians:
    """One frame of a batch; its parameters all have a leading dimension of 1."""

    def pick(value: Tensor, dimensions: int) -> Tensor:
        return value[None] if value.dim() < dimensions else value[row : row + 1]

    given = (gaussians.quats, gaussians.scales, gaussians.colors)
    quats, scales, colors = (pick(value, 3) for value in given)
    means, opacities = pick(gaussians.means, 3), pick(gaussians.opacities, 2)
    return Gaussians(means, quats, scales, opacities, colors)


def _splats(gaussians: Gaussians, harmonics: Tensor) -> Splats:
    values = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities)
    means, quats, scales, opacities = (value[0].float().cpu() for value in values)
    return Splats(means, normalize(quats, dim=-1), scales, opacities, harmonics)


def _turn(rotation: Tensor) -> Tensor:
    """(16, 16) float32: coefficients of harmonics -> those of the turned harmonics."""
    # A spiral over the sphere. The fit is exact: harmonics of a degree turn into themselves.
    height = (np.arange(_DIRECTIONS) + 0.5) / _DIRECTIONS * 2 - 1
    around, level = np.pi * (1 + 5**0.5) * np.arange(_DIRECTIONS), np.sqrt(1 - height**2)
    there = np.stack([level * np.cos(around), level * np.sin(around), height], 1)
    back = there @ rotation.double().numpy()
    turned = np.linalg.lstsq(harmonic_basis(there), harmonic_basis(back), rcond=None)[0]
    return torch.from_numpy(turned).float()


def harmonic_basis(directions: np.ndarray) -> np.ndarray:
    """Real spherical harmonics of degree 0 to 3 with 3DGS's signs: (M, 3) unit vectors -> (M, 16).

    A color is max(0, sum of coefficient times harmonic + 0.5).
    """
    x, y, z = directions.T
    xx, yy, zz = x * x, y * y, z * z
    values = [
        0.28209479177387814 * np.ones_like(x),
        -0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x,
        1.0925484305920792 * x * y, -1.0925484305920792 * y * z,
        0.31539156525252005 * (2 * zz - xx - yy),
        -1.0925484305920792 * x * z, 0.5462742152960396 * (xx - yy),
        -0.5900435899266435 * y * (3 * xx - yy), 2.890611442640554 * x * y * z,
        -0.4570457994644658 * y * (4 * zz - xx - yy),
        0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
        -0.4570457994644658 * x * (4 * zz - xx - yy), 1.445305721320277 * z * (xx - yy),
        -0.5900435899266435 * x * (xx - 3 * yy),
    ]  # fmt: skip
    return np.stack(values, 1)
