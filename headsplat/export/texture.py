"""The texture of a head's mesh, baked from renderings of the avatar."""

import numpy as np
import torch
from torch import Tensor

from headsplat.avatar import Avatar
from headsplat.camera import project
from headsplat.drive.arkit_motion import arkit_codes
from headsplat.formats.arkit.names import BLENDSHAPES
from headsplat.frame_code import FrameCode
from headsplat.gaussians.anchors import rasterize_uv
from headsplat.gaussians.deform.codes import posed_vertices
from headsplat.gaussians.raster.triangles import rasterize_triangles
from headsplat.heads.normals import vertex_normals
from headsplat.heads.skinning import HeadGeometry
from headsplat.masks.nearest import filled_from_nearest
from headsplat.rotations import matrix_from_axis_angle
from headsplat.runtime.heartbeat import beat

# (yaw, pitch) of the views in degrees. Mouth and lids need the frontal ones alone.
_VIEWS = (
    (0, 0), (-25, 0), (25, 0), (0, -25), (0, 25), (-50, 0), (50, 0), (-80, 0), (80, 0), (-35, -25),
    (35, -25),
)  # fmt: skip
_FRONTAL = 5
# ARKit's coefficients of each pose, and the number of its views.
_POSES = (
    ({}, len(_VIEWS)),
    ({"JawOpen": 0.8, "MouthUpperUpLeft": 0.5, "MouthUpperUpRight": 0.5}, _FRONTAL),
    ({"EyeBlinkLeft": 1.0, "EyeBlinkRight": 1.0}, _FRONTAL),
)
# A later pose only counts where those before it show a texel at less than this weight.
_SEEN = 0.05
# Texels this far behind the nearest surface are hidden, meters; colors fall off with the slant.
_HIDDEN, _SLANT, _FLATTEST = 0.003, 3, 0.1
_SHARE, _LEAST = 0.75, 256  # side of the renderings: of the texture's, and at least, pixels
_FIELD = 0.34  # meters across, at the head


def bake_texture(avatar: Avatar, distance: float, size: int) -> np.ndarray:
    """Colors of the mesh's UV atlas.

    The neutral face is drawn from all sides, then with an open mouth and shut lids for what these
    show. Each view counts by how squarely it sees a texel. Where nothing shows, the nearest color
    of the atlas is taken.

    Args:
        avatar: the avatar; its torso is left out.
        distance: from the camera to the head, meters: the clip's.
        size: side in pixels.

    Returns:
        (size, size, 3) uint8 sRGB, row 0 at v = 1.
    """
    head = avatar.head
    face, weight = rasterize_uv(head.uv, head.uv_faces, size)
    side = max(_LEAST, round(_SHARE * size))
    baker = _Baker(avatar, distance, face, weight, side)
    color, total = np.zeros((len(face), 3)), np.zeros(len(face))
    for k, (weights, views) in enumerate(_POSES, 1):
        posed_color, posed_total = baker.bake(weights, views)
        missing = (total < _SEEN)[:, None]
        color = np.where(missing, color + posed_color, color)
        total = np.where(missing[:, 0], total + posed_total, total)
        beat("poses for the texture", k, len(_POSES))
    seen = total > 1e-3
    image, known = np.zeros((size, size, 3), np.float32), np.zeros((size, size), bool)
    row, column = _texels(head.uv, head.uv_faces, face, weight, size)
    image[row[seen], column[seen]] = color[seen] / total[seen, None]
    known[row[seen], column[seen]] = True
    image = filled_from_nearest(image, known)
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


def _texels(
    uv: np.ndarray, uv_faces: np.ndarray, face: np.ndarray, weight: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of points of the atlas."""
    place = np.einsum("nk,nkc->nc", weight, uv[uv_faces[face]])
    row = np.floor((1 - place[:, 1]) * size).astype(int).clip(0, size - 1)
    return row, np.floor(place[:, 0] * size).astype(int).clip(0, size - 1)


class _Baker:
    """Draws the avatar and looks up texels: `face` (n,) and `weight` (n, 3) on the mesh.

    `side` is that of the renderings, pixels.
    """

    def __init__(
        self, avatar: Avatar, distance: float, face: np.ndarray, weight: np.ndarray, side: int
    ) -> None:
        head = avatar.head
        self._avatar, self._distance, self._side = avatar, distance, side
        self._geometry = HeadGeometry(head)
        self._faces = torch.from_numpy(head.faces).long()
        self._corners = self._faces[torch.from_numpy(face).long()]
        self._weight = torch.from_numpy(weight)[..., None]
        self._center = torch.from_numpy(head.template[head.regions["face"]].mean(0))
        focal = side * distance / _FIELD
        self._intrinsics = torch.tensor([focal, focal, side / 2, side / 2])

    def bake(self, weights: dict[str, float], views: int) -> tuple[np.ndarray, np.ndarray]:
        """Summed colors (n, 3) of the texels, and their weights (n,), over the views of a pose."""
        code = self._code(weights)
        vertices = posed_vertices(self._geometry, self._avatar.shape.cpu(), code)[0]
        normals = vertex_normals(vertices, self._faces)
        points = (vertices[self._corners] * self._weight).sum(1)
        facing = torch.nn.functional.normalize(
            (normals[self._corners] * self._weight).sum(1), dim=1
        )
        color, total = torch.zeros(len(points), 3), torch.zeros(len(points))
        for yaw, pitch in np.deg2rad(_VIEWS[:views]).tolist():
            drawn, share = self._view(code, vertices, points, facing, yaw, pitch)
            color += drawn * share[:, None]
            total += share
        return color.numpy(), total.numpy()

    def _code(self, weights: dict[str, float]) -> Tensor:
        head = self._avatar.head
        rows = {name: torch.tensor([weights.get(name, 0.0)]).double() for name in BLENDSHAPES}
        code = arkit_codes(rows, head)
        exp = torch.zeros(1, head.expression_basis.shape[2], dtype=torch.float64)
        if head.expression_names:
            exp = code.exp
        return FrameCode.pack(exp, code.jaw, code.eyes, code.eyelids).vector.float()

    def _view(
        self,
        code: Tensor,
        vertices: Tensor,
        points: Tensor,
        facing: Tensor,
        yaw: float,
        pitch: float,
    ) -> tuple[Tensor, Tensor]:
        over, around = matrix_from_axis_angle(torch.tensor([[pitch, 0.0, 0.0], [0.0, yaw, 0.0]]))
        rotation = torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ over.float() @ around.float()
        translation = torch.tensor([0.0, 0.0, self._distance]) - rotation @ self._center
        camera = rotation[None], translation[None], self._intrinsics
        depth = self._surface(vertices, *camera)
        # The light stands still in the clip: the avatar is drawn as it looks from the front.
        color, alpha = self._draw(code, *camera)
        there = project(points[None], *camera)[0]
        nearest = _sampled(depth[..., None], there, "nearest")[:, 0]
        rgba = _sampled(torch.cat([color, alpha[..., None]], -1), there, "bilinear")
        sight = torch.nn.functional.normalize(points @ rotation.T + translation, dim=1)
        slant = -(facing @ rotation.T * sight).sum(1)
        visible = (nearest > 0) & (there[:, 2] < nearest + _HIDDEN) & (slant > _FLATTEST)
        share = visible * slant.clamp(0) ** _SLANT * rgba[:, 3].clamp(0, 1) ** 2
        # Colors are premultiplied, because they were drawn on black.
        return rgba[:, :3] / rgba[:, 3:].clamp_min(1e-3), share

    def _surface(
        self, vertices: Tensor, rotation: Tensor, translation: Tensor, intrinsics: Tensor
    ) -> Tensor:
        """(H, W) depth of the mesh, meters; 0 where nothing shows."""
        points = project(vertices[None], rotation, translation, intrinsics)
        face, bary = rasterize_triangles(points, self._faces, self._side, self._side)
        corner = points[0, :, 2][self._faces[face[0].clamp_min(0).long()]]
        return (bary[0] * corner).sum(-1)

    def _draw(
        self, code: Tensor, rotation: Tensor, translation: Tensor, intrinsics: Tensor
    ) -> tuple[Tensor, Tensor]:
        avatar = self._avatar
        frontal = torch.diag(torch.tensor([1.0, -1.0, -1.0]))[None]
        ahead = torch.tensor([[0.0, 0.0, self._distance]])
        device = avatar.device
        with torch.no_grad():
            posed = avatar.gaussians(
                code.to(device), frontal.to(device), ahead.to(device), head_only=True
            )
            color, alpha = avatar.rasterize(
                posed, rotation.to(device), translation.to(device),
                intrinsics[None].to(device), self._side, self._side, torch.zeros(3, device=device),
            )  # fmt: skip
        return color[0].clamp(0, 1).cpu(), alpha[0].cpu()


def _sampled(image: Tensor, points: Tensor, mode: str) -> Tensor:
    """(H, W, C) at points (n, 2 or more) in pixels -> (n, C); 0 outside."""
    height, width = image.shape[:2]
    place = points[None, None, :, :2] / torch.tensor([width, height]) * 2 - 1
    channels = image.movedim(-1, 0)[None]
    found = torch.nn.functional.grid_sample(channels, place, mode, align_corners=False)
    return found[0, :, 0].T
