"""A trained avatar: its files, and images of it for any code and camera.

`avatar.npz` holds arrays only (anchors, identity, the deformation's parameters), `avatar.json` what
they are: model, sizes, the head model's name, version and licence, facts of the training.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headsplat.gaussians.anchors import Anchors
from headsplat.gaussians.deform.base import Deformation, FrameInputs, Gaussians
from headsplat.gaussians.deform.codes import (
    EYELIDS,
    EYES,
    JAW,
    camera_center,
    condition_size,
    head_pose,
)
from headsplat.gaussians.deform.registry import build_deformation
from headsplat.gaussians.raster.gaussians import InstanceBudget, rasterize_gaussians
from headsplat.gaussians.surface import AnchoredSurface
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry, SubjectGeometry
from headsplat.rotations import matrix_from_6d, matrix_to_6d
from headsplat.runtime.checks import check_shape
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_json, read_npz, write_json, write_npz

FORMAT = 1
ARRAYS_FILE, FACTS_FILE = "avatar.npz", "avatar.json"


@dataclass
class Avatar:
    """Everything needed to draw one person.

    Attributes:
        head: the head model it was trained with.
        shape: (S,) identity coefficients.
        anchors: N points on the head.
        deformation: from codes to Gaussians.
        device: where it is evaluated.
        facts: what `avatar.json` says beyond the contract: training facts.
        centered: whether it is drawn with the principal point in the middle of the image, whatever
            the camera says, because it was trained so (as the original FlashAvatar does).
    """

    head: HeadModel
    shape: Tensor
    anchors: Anchors
    deformation: Deformation
    device: torch.device
    facts: dict[str, Any] = field(default_factory=dict)
    centered: bool = False

    def __post_init__(self) -> None:
        self.shape = self.shape.to(self.device)
        self.deformation.to(self.device)
        self._surface = AnchoredSurface(self.anchors, self.head, self.device)
        self._geometry = SubjectGeometry(
            HeadGeometry(self.head, self.device), self.shape, self._surface.vertex_ids
        )
        # `head_pose` is linear, entry by entry; it makes its constant on the host, for which no
        # CUDA graph has room.
        self._facing = head_pose(torch.ones(1, 3, 3, device=self.device))

    @property
    def vertex_count(self) -> int:
        """How many vertices anchors use."""
        return len(self._surface.vertex_ids)

    def vertices(self, condition: Tensor) -> Tensor:
        """(B, C) codes -> (B, n, 3): the posed vertices that anchors use, metres."""
        size = condition_size(self.head)
        check_shape(condition, f"B {size}", "condition")
        rotations = JAW + EYES
        exp, six, lids = condition.split([size - rotations - EYELIDS, rotations, EYELIDS], 1)
        return self._geometry.vertices(exp, matrix_from_6d(six.unflatten(1, (-1, 6))), lids)

    def place(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Posed vertices -> anchors' positions (B, N, 3) and rotations (B, N, 4)."""
        return self._surface.place(vertices)

    def inputs(
        self, condition: Tensor, vertices: Tensor, rotation: Tensor, translation: Tensor
    ) -> FrameInputs:
        """Gather what the deformation sees of a batch; all arguments lead with B."""
        positions, rotations = self.place(vertices)
        center = camera_center(rotation, translation)
        pose = matrix_to_6d(rotation) * self._facing
        return FrameInputs(condition, pose, positions, rotations, center)

    def rasterize(
        self,
        gaussians: Gaussians,
        rotation: Tensor,
        translation: Tensor,
        intrinsics: Tensor,
        width: int,
        height: int,
        background: Tensor,
        budget: InstanceBudget | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw Gaussians, differentiably; arguments and results as in `render`."""
        if self.centered:
            fx, fy = intrinsics[..., 0], intrinsics[..., 1]
            middle = torch.full_like(fx, width / 2), torch.full_like(fy, height / 2)
            intrinsics = torch.stack([fx, fy, *middle], -1)
        return rasterize_gaussians(
            gaussians.means,
            gaussians.quats,
            gaussians.scales,
            gaussians.opacities,
            gaussians.colors,
            rotation,
            translation,
            intrinsics,
            width,
            height,
            background,
            budget,
        )

    @torch.no_grad()
    def render(
        self,
        condition: Tensor,
        rotation: Tensor,
        translation: Tensor,
        intrinsics: Tensor,
        width: int,
        height: int,
        background: Tensor,
        budget: InstanceBudget | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Images of a batch of frames.

        Args:
            condition: (B, C) codes exp | jaw 6D | eyes 12 | eyelids 2.
            rotation: (B, 3, 3) head to OpenCV camera.
            translation: (B, 3) metres.
            intrinsics: (B, 4) or (4,): fx, fy, cx, cy in pixels.
            width: of the images.
            height: of the images.
            background: (B, 3) or (3,) color.
            budget: fixed buffers of the rasterizer on a GPU; see `InstanceBudget`.

        Returns:
            color (B, H, W, 3) in 0..1 and alpha (B, H, W).
        """
        move = [v.to(self.device) for v in (condition, rotation, translation, background)]
        condition, rotation, translation, background = move
        k4 = intrinsics.to(self.device).expand(len(condition), 4)
        frames = self.inputs(condition, self.vertices(condition), rotation, translation)
        gaussians = self.deformation(frames)
        color, alpha = self.rasterize(
            gaussians, rotation, translation, k4, width, height, background, budget
        )
        return color.clamp_(0, 1), alpha


def save_avatar(folder: Path | str, avatar: Avatar) -> None:
    """Write `avatar.npz` and `avatar.json` into `folder`."""
    folder = Path(folder)
    head, anchors = avatar.head, avatar.anchors
    state = {
        f"state/{key}": value.detach().cpu().numpy()
        for key, value in avatar.deformation.state_dict().items()
    }
    write_npz(
        folder / ARRAYS_FILE,
        anchor_face=anchors.face,
        anchor_barycentric=anchors.barycentric,
        anchor_height=anchors.height,
        shape=avatar.shape.cpu().numpy(),
        **state,
    )
    facts = {
        "format": FORMAT,
        "model": avatar.deformation.name,
        "settings": avatar.deformation.settings(),
        "gaussians": len(anchors),
        "centered": avatar.centered,
        "condition_size": condition_size(head),
        "head_name": head.name,
        "head_version": head.version,
        "head_licence": head.licence,
        "training": avatar.facts,
    }
    write_json(folder / FACTS_FILE, facts)


def load_avatar(folder: Path | str, head: HeadModel, device: torch.device | str) -> Avatar:
    """Read an avatar that `save_avatar` wrote.

    Raises:
        UserError: a file or array is missing, the format is another, or it was trained with
            another head model.
    """
    folder = Path(folder)
    again = f"delete {folder}, and the same command makes it again"
    facts = read_json(folder / FACTS_FILE, again)
    if facts.get("format") != FORMAT:
        raise UserError(
            f"{folder / FACTS_FILE}: format {facts.get('format')}, this version reads {FORMAT}; "
            "train the avatar again"
        )
    trained_with = (facts["head_name"], facts["head_version"])
    if trained_with != (head.name, head.version):
        raise UserError(
            f"{folder}: trained with head {' '.join(trained_with)}, not {head.name} "
            f"{head.version}; give the head it was trained with"
        )
    arrays = read_npz(
        folder / ARRAYS_FILE, ("anchor_face", "anchor_barycentric", "anchor_height", "shape"), again
    )
    deformation = build_deformation(facts["model"], facts["settings"])
    state = {
        key.removeprefix("state/"): torch.from_numpy(np.ascontiguousarray(value))
        for key, value in arrays.items()
        if key.startswith("state/")
    }
    try:
        deformation.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise UserError(f"{folder / ARRAYS_FILE}: {first}; train the avatar again") from error
    anchors = Anchors(arrays["anchor_face"], arrays["anchor_barycentric"], arrays["anchor_height"])
    shape = torch.from_numpy(arrays["shape"])
    return Avatar(
        head, shape, anchors, deformation.eval(), torch.device(device), facts["training"],
        facts.get("centered", False),
    )  # fmt: skip
