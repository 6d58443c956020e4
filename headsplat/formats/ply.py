"""Export of an avatar in one pose as a 3D Gaussian Splatting PLY (Kerbl et al., 2023).

Properties, their order and their activations are those of the published code: logarithms of the
scales, logits of the opacities, harmonics of degree 3 with a channel's coefficients in a row,
quaternions (w, x, y, z). Points are in the head's frame: meters, y up, the face looks to +z.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headsplat.avatar import Avatar
from headsplat.avatar_files import load_avatar
from headsplat.frame_code import FrameCode
from headsplat.gaussians.deform.base import Gaussians
from headsplat.gaussians.sh import constant_coefficient
from headsplat.heads.model import HeadModel
from headsplat.runtime.files import publish
from headsplat.track import read_track

_REST = 15  # coefficients of a channel beyond the constant one, degree 3
PROPERTIES = (
    "x", "y", "z", "nx", "ny", "nz",
    *(f"f_dc_{k}" for k in range(3)), *(f"f_rest_{k}" for k in range(3 * _REST)),
    "opacity", *(f"scale_{k}" for k in range(3)), *(f"rot_{k}" for k in range(4)),
)  # fmt: skip
# Opacities that float32 rounds to 0 or 1 have no logit.
_OPACITY_FLOOR = 1e-6


def export_ply(
    model: Path, head_path: Path, track_path: Path, frame: int | None, out: Path
) -> None:
    """Publish one `.ply`.

    Args:
        model: folder of the trained avatar.
        head_path: the head model it was trained with.
        track_path: its track.
        frame: an id of the track, or None for the neutral face.
        out: the file to write.

    Raises:
        UserError: an input is broken, or the track lacks the frame.
    """
    head = HeadModel.load(head_path)
    avatar = load_avatar(model, head, "cpu")
    track = read_track(track_path, head)
    if frame is None:
        # A frontal view at the clip's distance, because colors may be view-dependent.
        condition = FrameCode.neutral(head).vector[None]
        rotation = torch.diag(torch.tensor([1.0, -1.0, -1.0]))[None]
        translation = torch.tensor([[0.0, 0.0, float(track.poses()[1][:, 2].median())]])
        trunk = None
    else:
        some = track[track.rows([frame])].frames()
        condition, rotation, translation, trunk = (
            some.code.vector, some.rotation, some.translation, some.trunk
        )  # fmt: skip
    write_ply(out, *posed(avatar, condition, rotation, translation, trunk))


@torch.no_grad()
def posed(
    avatar: Avatar,
    condition: Tensor,
    rotation: Tensor,
    translation: Tensor,
    trunk: Tensor | None = None,
) -> tuple[Gaussians, Tensor]:
    """Gaussians of one frame, the torso's after the head's, and their harmonics (N, 16, 3).

    Args:
        avatar: the avatar.
        condition: (1, C) code.
        rotation: (1, 3, 3) head to OpenCV camera.
        translation: (1, 3) meters.
        trunk: (1, 3, 4) trunk to head, or None for a stiff neck.
    """
    gaussians = avatar.gaussians(condition, rotation, translation, trunk, head_only=True)
    harmonics = torch.zeros(avatar.count, 1 + _REST, 3)
    known = avatar.deformation.harmonics(gaussians)
    harmonics[: len(known), : known.shape[1]] = known
    if avatar.torso is not None:
        torso = avatar.torso(rotation, trunk)
        harmonics[len(known) :, 0] = constant_coefficient(torso.colors[0])
        gaussians = gaussians.joined(torso)
    return gaussians, harmonics


def write_ply(path: Path, gaussians: Gaussians, harmonics: Tensor) -> None:
    """Publish one frame's Gaussians.

    Args:
        path: the file.
        gaussians: of one frame; leading batches of 1 allowed.
        harmonics: (N, 16, 3).
    """
    count = len(harmonics)
    opacity = gaussians.opacities.reshape(-1).expand(count)
    logit = torch.logit(opacity, _OPACITY_FLOOR)
    columns = [
        gaussians.means.reshape(count, 3),
        torch.zeros(count, 3),
        harmonics[:, 0],
        harmonics[:, 1:].transpose(1, 2).reshape(count, -1),
        logit[:, None],
        gaussians.scales.reshape(count, 3).log(),
        torch.nn.functional.normalize(gaussians.quats.reshape(count, 4), dim=-1),
    ]
    values = torch.cat(columns, 1).numpy().astype("<f4")
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [*(f"property float {name}" for name in PROPERTIES), "end_header", ""]
    with publish(path) as temporary, open(temporary, "wb") as handle:
        handle.write("\n".join(header).encode("ascii"))
        handle.write(np.ascontiguousarray(values).tobytes())
