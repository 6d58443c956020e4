"""The driven head laid over images of the subject's clip, feathered at the neck.

Where the head's mesh follows the trunk, the clip's image remains; in between both are mixed. The
old head is first replaced by the clean plate. Colors are matched by a smooth gain, which is
measured where both are seen, and which fades away from there.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from headsplat.avatar import Avatar
from headsplat.camera import project
from headsplat.frame_code import FrameCode
from headsplat.gaussians.raster.triangles import interpolate, rasterize_triangles
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.masks.fill import as_planes, blurred, fill_holes
from headsplat.rotations import matrix_from_6d

# Over the image width: how far around the old head it is replaced, and the blur of the feather.
_AROUND, _FEATHER = 5 / 512, 6 / 512
# Share of the new head up to which its outline stays within that of the clip.
_TRUNKS = 0.6
# Scale at which gains are measured, their smoothing there over the width, and their bounds.
_COARSE, _GAIN_BLUR, _GAINS = 8, 1 / 32, (0.75, 1.33)
# Part of the image that must show the seam for a gain to be believed by half, locally.
_BELIEVED = 0.05


class Paste:
    """Composites batches of rendered heads and images of the clip.

    Args:
        avatar: whose head is drawn.
        intrinsics: (4,) fx, fy, cx, cy in pixels.
        size: (width, height) of the images.
        plate: (H, W, 3) clean plate in 0..1.
        whole: whether images of the clip stay below the person; else they are cut out by the matte.
        mouth: whether the clip's own upper face is kept: the head has the pose of the image.
    """

    def __init__(
        self,
        avatar: Avatar,
        intrinsics: Tensor,
        size: tuple[int, int],
        plate: Tensor,
        whole: bool,
        mouth: bool,
    ) -> None:
        device = avatar.device
        self._geometry = HeadGeometry(avatar.head, device)
        self._shape, self._size = avatar.shape, size
        self._intrinsics = intrinsics.to(device)
        self._plate = as_planes(plate[None].to(device))
        self._whole = whole
        share = new_share(avatar.head, mouth)
        self._share = torch.from_numpy(share).to(device)[:, None]

    def composite(
        self,
        color: Tensor,
        alpha: Tensor,
        below: Tensor,
        condition: Tensor,
        rotation: Tensor,
        translation: Tensor,
        trunk: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """The person with the new head.

        Args:
            color: (B, H, W, 3) head rendered on black.
            alpha: (B, H, W) of it.
            below: (B, H, W, 5) uint8 of the clip, as `ClipImages.batches` yields them.
            condition: (B, C) codes; this and the following as they were rendered.
            rotation: (B, 3, 3) head to camera.
            translation: (B, 3) meters.
            trunk: (B, 3, 4) trunk to head, or None.

        Returns:
            color (B, H, W, 3) on black and alpha (B, H, W).
        """
        device = color.device
        planes = as_planes(below.to(device, non_blocking=True).float() / 255)
        image, matte, head = planes[:, :3], planes[:, 3:4], planes[:, 4:]
        moves = (condition, rotation, translation, *(() if trunk is None else (trunk,)))
        share = self._feather(*(value.to(device) for value in moves))
        color, alpha = as_planes(color), as_planes(alpha)
        color = color * self._gain(color, alpha, image, head * matte, share)
        # Low on the neck the outline is the trunk's, which the clip shows.
        room = torch.maximum(matte, ((share - _TRUNKS) / (1 - _TRUNKS)).clamp(0, 1))
        color, alpha = color * room, alpha * room
        if self._whole:
            matte = torch.ones_like(matte)
        old = self._old_head(head, planes[:, 3:4])
        cut = image * matte
        filled = (1 - old) * cut + old * (self._plate if self._whole else 0)
        kept = (1 - old) * matte + old * (1 if self._whole else 0)
        new_color = color + (1 - alpha) * filled
        new_alpha = alpha + (1 - alpha) * kept
        mixed = torch.lerp(cut, new_color, share), torch.lerp(matte, new_alpha, share)
        return mixed[0].movedim(1, -1), mixed[1][:, 0]

    def _feather(
        self, condition: Tensor, rotation: Tensor, translation: Tensor, trunk: Tensor | None = None
    ) -> Tensor:
        """(B, 1, H, W): 1 where the new head is shown, 0 where the clip is."""
        code = FrameCode(condition)
        joints = matrix_from_6d(code.joints)
        points = self._geometry.vertices(
            self._shape, code.exp, joints[:, 0], joints[:, 1:], code.eyelids, trunk=trunk
        )
        points = project(points, rotation, translation, self._intrinsics)
        faces = self._geometry.faces
        face, bary = rasterize_triangles(points, faces, *self._size, cull_backfaces=True)
        share = interpolate(face, bary, faces, self._share)
        share = fill_holes(as_planes(share), as_planes((face >= 0).to(share)))
        return blurred(share, _pixels(_FEATHER, self._size)).clamp(0, 1)

    def _old_head(self, head: Tensor, matte: Tensor) -> Tensor:
        """(B, 1, H, W): where the clip's head is removed: around its mask, clothes excepted."""
        reach = _pixels(_AROUND, self._size)
        wide = F.max_pool2d(head, 2 * reach + 1, stride=1, padding=reach)
        return blurred(wide * (1 - (matte * (1 - head))), max(1, reach // 3))

    def _gain(
        self, color: Tensor, alpha: Tensor, image: Tensor, head: Tensor, share: Tensor
    ) -> Tensor:
        """(B, 3, H, W) factors that make the new head's colors those of the clip at the seam."""
        seam = 4 * share * (1 - share) * alpha * head
        sums = torch.cat([seam * image * alpha, seam * color, seam], 1)
        height, width = sums.shape[-2:]
        coarse = (max(height // _COARSE, 1), max(width // _COARSE, 1))
        radius = max(1, round(_GAIN_BLUR * coarse[1]))
        sums = blurred(F.interpolate(sums, coarse, mode="area"), radius)
        gain = (sums[:, :3] + 1e-4) / (sums[:, 3:6] + 1e-4)
        believed = sums[:, 6:] / (sums[:, 6:] + _BELIEVED)
        gain = 1 + believed * (gain.clamp(*_GAINS) - 1)
        return F.interpolate(gain, (height, width), mode="bilinear", align_corners=False)


def new_share(head: HeadModel, mouth: bool) -> np.ndarray:
    """(V,) float32 share of the new head in each vertex: none where the mesh follows the trunk.

    With `mouth`, also none above the middle between lips and eyes, and behind the face.
    """
    share = 1 - head.skinning[:, 0]
    if mouth:
        lips, eyes = (head.template[head.regions[name]] for name in ("lips", "eye_region"))
        gap = eyes[:, 1].min() - lips[:, 1].max()
        height = (head.template[:, 1] - lips[:, 1].max()) / gap
        face = head.template[head.regions["face"], 2]
        depth = (head.template[:, 2] - face.min()) / (face.max() - face.min())
        share = share * _smoothstep((0.75 - height) / 0.5) * _smoothstep((depth + 0.25) / 0.4)
    return _smoothstep(share)


def _smoothstep(value: np.ndarray) -> np.ndarray:
    value = value.clip(0, 1)
    return (value * value * (3 - 2 * value)).astype("float32")


def _pixels(share: float, size: tuple[int, int]) -> int:
    return max(1, round(share * size[0]))
