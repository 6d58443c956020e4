"""A trained avatar: rendering for any frame code and camera.

`headsplat.avatar_files` saves and loads it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headsplat.frame_code import FrameCode
from headsplat.gaussians.anchors import AnchoredSurface, Anchors
from headsplat.gaussians.deform.base import Deformation, FrameInputs, Gaussians
from headsplat.gaussians.deform.codes import camera_center, head_pose_6d
from headsplat.gaussians.deform.torso import Torso
from headsplat.gaussians.raster.gaussians import InstanceBudget, rasterize_gaussians
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry, SubjectGeometry
from headsplat.rotations import matrix_from_6d, matrix_to_6d
from headsplat.runtime.checks import check_shape
from headsplat.runtime.errors import UserError
from headsplat.track import Frame, Track, check_head

WHITE = (1.0, 1.0, 1.0)
_BATCH = 8


@dataclass
class Avatar:
    """A trained Gaussian head avatar of one person.

    Attributes:
        head: the head model it was trained with.
        shape: (S,) identity coefficients.
        anchors: N points on the head surface.
        deformation: model from codes to Gaussians.
        device: torch device of all tensors.
        facts: training summary stored in `avatar.json`.
        centered: whether rendering puts the principal point at the image center and ignores the
            camera's. The original FlashAvatar trains so.
        folder: where it was read from; None for one in training.
        torso: the Gaussians below the head, or None of a head alone.
    """

    head: HeadModel
    shape: Tensor
    anchors: Anchors
    deformation: Deformation
    device: torch.device
    facts: dict[str, Any] = field(default_factory=dict)
    centered: bool = False
    folder: Path | None = None
    torso: Torso | None = None

    def __post_init__(self) -> None:
        self.shape = self.shape.to(self.device)
        self.deformation.to(self.device)
        if self.torso is not None:
            self.torso.to(self.device)
        self._surface = AnchoredSurface(self.anchors, self.head, self.device)
        self._geometry = SubjectGeometry(
            HeadGeometry(self.head, self.device), self.shape, self._surface.vertex_ids
        )
        # `head_pose_6d` is an elementwise product with a constant. The constant is created on the
        # host, which a CUDA graph cannot capture, so it is kept here.
        self._facing = head_pose_6d(torch.ones(1, 3, 3, device=self.device))

    @property
    def count(self) -> int:
        """Number of Gaussians of head and torso."""
        return len(self.anchors) + (0 if self.torso is None else self.torso.count)

    @property
    def vertex_count(self) -> int:
        """Number of vertices that anchors use."""
        return len(self._surface.vertex_ids)

    def vertices(self, condition: Tensor, trunk: Tensor | None = None) -> Tensor:
        """(B, C) codes -> (B, n, 3): the posed vertices that anchors use, meters.

        `trunk` (B, 3, 4) is the trunk's pose in the head's frame (`Track.trunk`); None is a stiff
        neck, and so is any pose for a model that does not follow it.
        """
        check_shape(condition, f"B {FrameCode.size(self.head)}", "condition")
        code = FrameCode(condition)
        joints = matrix_from_6d(code.joints)
        trunk = trunk if self.deformation.follows_trunk else None
        return self._geometry.vertices(code.exp, joints, code.eyelids, trunk)

    def place(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Posed vertices -> anchors' positions (B, N, 3) and rotations (B, N, 4)."""
        return self._surface.place(vertices)

    def anchor_frames(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n, 3) posed vertices -> positions and axes, see `AnchoredSurface.frames`."""
        return self._surface.frames(vertices)

    def growth(self, before: Tensor, after: Tensor) -> Tensor:
        """(n, 3) posed vertices of two poses -> (N, 2), see `AnchoredSurface.growth`."""
        return self._surface.growth(before, after)

    def inputs(
        self, condition: Tensor, vertices: Tensor, rotation: Tensor, translation: Tensor
    ) -> FrameInputs:
        """Inputs of the deformation for a batch; all arguments have a leading dimension B."""
        positions, rotations = self.place(vertices)
        center = camera_center(rotation, translation)
        pose = matrix_to_6d(rotation) * self._facing
        return FrameInputs(condition, pose, positions, rotations, center)

    def gaussians(
        self,
        condition: Tensor,
        rotation: Tensor,
        translation: Tensor,
        trunk: Tensor | None = None,
        head_only: bool = False,
    ) -> Gaussians:
        """Gaussians of a batch, the head's first; arguments on the device, as in `render_codes`."""
        vertices = self.vertices(condition, trunk)
        head = self.deformation(self.inputs(condition, vertices, rotation, translation))
        if self.torso is None or head_only:
            return head
        return head.joined(self.torso(rotation, trunk))

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
        """Rasterize Gaussians, differentiable; arguments and results as in `render_codes`."""
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
    def render(self, frames: Frame | Track, background: Sequence[float] = WHITE) -> Tensor:
        """Render one frame or several with the camera of the frames.

        `headsplat.render.FrameRenderer` is faster where many frames share one camera.

        Args:
            frames: `track[k]`, `track[a:b]`, or a `Frame` of your own.
            background: red, green and blue in 0..1.

        Returns:
            (H, W, 3) float32 in 0..1 on the avatar's device; (B, H, W, 3) of several frames.

        Raises:
            UserError: the frames are of another head model, or there are none.
        """
        batch = self.as_batch(frames)
        color = torch.tensor(background, dtype=torch.float32)
        camera = batch.intrinsics, batch.width, batch.height
        images = []
        for part in zip(*(value.split(_BATCH) for value in moving_parts(batch)), strict=True):
            trunk = part[3] if len(part) > 3 else None
            images.append(self.render_codes(*part[:3], *camera, color, trunk=trunk)[0])
        one = isinstance(frames, Frame) and frames.rotation.ndim == 2
        return torch.cat(images)[0] if one else torch.cat(images)

    def as_batch(self, frames: Frame | Track) -> Frame:
        """Frames with a leading dimension B, whose codes fit the avatar's head model.

        Raises:
            UserError: the frames are of another head model, or there are none.
        """
        if isinstance(frames, Track):
            check_head(frames, self.head.name, self.head.version)
            frames = frames.frames()
        have, expected = frames.code.vector.shape[-1], FrameCode.size(self.head)
        if have != expected:
            raise UserError(
                f"codes of {have} numbers, the avatar's head {self.head.name} has {expected}; "
                "give frames of the same head"
            )
        one = frames.rotation.ndim == 2
        code, rotation, translation = (
            value[None] if one else value
            for value in (frames.code.vector, frames.rotation, frames.translation)
        )
        if len(rotation) == 0:
            raise UserError("there is no frame to draw; give at least one")
        check_shape(code, f"{len(rotation)} {expected}", "code")
        trunk = frames.trunk
        if trunk is not None:
            trunk = trunk[None] if one else trunk
            check_shape(trunk, f"{len(rotation)} 3 4", "trunk")
        return replace(
            frames, code=FrameCode(code), rotation=rotation, translation=translation, trunk=trunk
        )

    def render_video(
        self,
        frames: Frame | Track,
        path: Path | str,
        audio: Path | str | None = None,
        fps: float | None = None,
        background: Sequence[float] = WHITE,
    ) -> None:
        """Render several frames to an mp4, in constant memory.

        Args:
            frames: as `render` takes them.
            path: mp4 to write; it appears when it is complete.
            audio: file with sound that starts with the first image, or None for none.
            fps: images a second; None takes the track's, or 25 for a `Frame`.
            background: red, green and blue in 0..1.

        Raises:
            UserError: as `render`, or a file cannot be read or written.
        """
        # Imported by name, so that the code hash of training excludes video writing: an edit there
        # must not retrain avatars.
        video = import_module("headsplat.avatar_video")
        video.render_video(self, frames, Path(path), audio, fps, background)

    def say(self, sound: Path | str, out: Path | str, **options: Any) -> None:
        """Render a video of the avatar that says a sound; see `headsplat.avatar_speech.say`."""
        import_module("headsplat.avatar_speech").say(self, sound, out, **options)

    def speaker(self, voice: Path | str | None = None, track: Track | None = None) -> Any:
        """Frames while somebody speaks; see `headsplat.avatar_speech.speaker`."""
        return import_module("headsplat.avatar_speech").speaker(self, voice, track)

    @torch.no_grad()
    def render_codes(
        self,
        condition: Tensor,
        rotation: Tensor,
        translation: Tensor,
        intrinsics: Tensor,
        width: int,
        height: int,
        background: Tensor,
        budget: InstanceBudget | None = None,
        trunk: Tensor | None = None,
        head_only: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Images of a batch of frames.

        Args:
            condition: (B, C) codes exp | jaw 6D | eyes 12 | eyelids 2.
            rotation: (B, 3, 3) head to OpenCV camera.
            translation: (B, 3) meters.
            intrinsics: (B, 4) or (4,): fx, fy, cx, cy in pixels.
            width: of the images.
            height: of the images.
            background: (B, 3) or (3,) color.
            budget: fixed buffers of the rasterizer on a GPU; see `InstanceBudget`.
            trunk: (B, 3, 4) trunk to head, or None for a stiff neck.
            head_only: leave the torso out, as metrics of the head do.

        Returns:
            color (B, H, W, 3) in 0..1 and alpha (B, H, W).
        """
        move = [v.to(self.device) for v in (condition, rotation, translation, background)]
        condition, rotation, translation, background = move
        k4 = intrinsics.to(self.device).expand(len(condition), 4)
        trunk = None if trunk is None else trunk.to(self.device)
        gaussians = self.gaussians(condition, rotation, translation, trunk, head_only)
        color, alpha = self.rasterize(
            gaussians, rotation, translation, k4, width, height, background, budget
        )
        return color.clamp_(0, 1), alpha


def moving_parts(batch: Frame) -> tuple[Tensor, ...]:
    """What differs between the frames of a batch: code, rotation, translation and, if any, trunk.

    These are the arguments of `headsplat.render.FrameRenderer`.
    """
    parts = (batch.code.vector, batch.rotation, batch.translation)
    return parts if batch.trunk is None else (*parts, batch.trunk)
