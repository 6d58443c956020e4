"""The set: a head and a torso as one mesh with one texture, lit and drawn before the room."""

import numpy as np
import torch
from torch import Tensor

from headsplat.builtin.cloth import paint_cloth
from headsplat.builtin.puppet import Puppet
from headsplat.builtin.room import paint_room
from headsplat.builtin.shading import light_vertices, sky_openness, vertex_normals
from headsplat.builtin.torso import build_torso
from headsplat.builtin.skin import bake_albedo
from headsplat.camera import project
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.raster.triangles import rasterize_triangles
from headsplat.rotations import matrix_from_axis_angle

SUPERSAMPLING = 2
ATLAS_SIDE = 1024
GAMMA = 2.2
NOISE = 1.3
NOISE_FIELDS = 16
# The key light's reflection on the cornea, in camera axes.
CATCH_LIGHT = (-0.5, -0.75, -0.9)
CATCH_EXPONENT = 220.0
GLOSS = {"face": 0.10, "lips": 0.22, "nose": 0.14, "forehead": 0.12, "scalp": 0.07}
# What little light there is inside the mouth comes through the lips, which the sky's share of the
# closed mouth does not know.
MOUTH_OPENNESS = {"teeth": 0.55, "mouth_interior": 0.25}
EYE_OPENNESS = 0.75


class StageSet:
    """Draws frames of one performance.

    Args:
        model: the head.
        shape: (S,) its identity.
        size: side of the picture in pixels.
        intrinsics: (4,) fx, fy, cx, cy in pixels.
        seed: of the camera's noise.
    """

    def __init__(
        self,
        model: HeadModel,
        shape: np.ndarray,
        size: int,
        intrinsics: np.ndarray,
        seed: int = 17,
    ) -> None:
        self._geometry = HeadGeometry(model)
        self._shape = torch.as_tensor(shape)
        neutral = self._geometry.shaped(self._shape)
        centre, radius = neck_end(model, neutral.numpy())
        torso = build_torso(centre, radius)
        self._torso = torch.as_tensor(torso.vertices)
        heads = len(neutral)
        self._faces = torch.cat([self._geometry.faces, torch.as_tensor(torso.faces).long() + heads])
        self._corner_uv = _atlas_uv(model, torso.uv, torso.faces)
        cloth = torch.as_tensor(paint_cloth(torso, ATLAS_SIDE)).float() / 255
        atlas = torch.cat([bake_albedo(model, ATLAS_SIDE), cloth])
        self._atlas = (atlas**GAMMA).reshape(-1, 3)
        self._atlas_height, self._atlas_width = atlas.shape[:2]
        self._openness = self._sky(model, torch.cat([neutral, self._torso]))
        self._gloss = self._glosses(model)
        eyes = torch.zeros(len(self._openness), dtype=torch.bool)
        eyes[_region(model, "left_eyeball")] = True
        eyes[_region(model, "right_eyeball")] = True
        self._is_eye = eyes[self._faces].all(1)
        room = torch.as_tensor(paint_room(size)).float() / 255
        self._room = room**GAMMA
        self._size = size
        self._intrinsics = torch.as_tensor(intrinsics, dtype=torch.float32)
        fields = np.random.default_rng(seed).standard_normal((NOISE_FIELDS, size, size, 3))
        self._noise = torch.as_tensor(NOISE * fields, dtype=torch.float32)

    def _sky(self, model: HeadModel, vertices: Tensor) -> Tensor:
        openness = sky_openness(vertices, self._faces)
        for name, value in MOUTH_OPENNESS.items():
            if name in model.regions:
                openness[_region(model, name)] = value
        for name in ("left_eyeball", "right_eyeball"):
            openness[_region(model, name)] = EYE_OPENNESS
        return openness

    def _glosses(self, model: HeadModel) -> Tensor:
        gloss = torch.zeros(len(self._openness))
        for name, value in GLOSS.items():
            if name in model.regions:
                gloss[_region(model, name)] = value
        for name in ("left_eyeball", "right_eyeball"):
            gloss[_region(model, name)] = 0.0
        return gloss

    def draw(self, puppet: Puppet, torso_R: np.ndarray, torso_t: np.ndarray, first: int) -> Tensor:
        """Frames as (B, size, size, 3) uint8.

        Args:
            puppet: the B frames.
            torso_R: (B, 3, 3) head axes to camera for the torso.
            torso_t: (B, 3) metres.
            first: number of the first frame, which chooses the noise.
        """
        batch = len(puppet.exp)
        head = self._geometry.vertices(
            self._shape,
            torch.as_tensor(puppet.exp),
            matrix_from_axis_angle(torch.as_tensor(puppet.jaw)),
            matrix_from_axis_angle(torch.as_tensor(puppet.eyes).reshape(batch, 2, 3)),
            torch.as_tensor(puppet.eyelids),
        )
        camera_head = _moved(head, puppet.R, puppet.t)
        camera_torso = _moved(self._torso.expand(batch, -1, -1), torso_R, torso_t)
        points = torch.cat([camera_head, camera_torso], 1)
        normals = vertex_normals(points, self._faces)
        lit = light_vertices(points, normals, self._openness, self._gloss)
        still = torch.eye(3).expand(batch, 3, 3), torch.zeros(batch, 3)
        pixels = project(points, *still, self._intrinsics * SUPERSAMPLING)
        fine = self._size * SUPERSAMPLING
        face, bary = rasterize_triangles(pixels, self._faces, fine, fine)
        attributes = torch.cat([lit.diffuse, lit.sheen, normals], -1)
        frames = [self._shade(face[i], bary[i], attributes[i], points[i]) for i in range(batch)]
        shown = torch.stack(frames).clamp(0, 1) ** (1 / GAMMA) * 255
        grain = self._noise[torch.arange(first, first + batch) * 7 % NOISE_FIELDS]
        return (shown + grain).round().clamp(0, 255).to(torch.uint8)

    def _shade(self, face: Tensor, bary: Tensor, attributes: Tensor, points: Tensor) -> Tensor:
        """One frame in linear colours, (size, size, 3), averaged over the fine pixels."""
        flat = face.reshape(-1)
        hit = torch.nonzero(flat >= 0)[:, 0]
        hit_face = flat[hit].long()
        weight = bary.reshape(-1, 3)[hit]
        corners = self._faces[hit_face]
        light = _blend(attributes[:, :6], corners, weight)
        uv = (self._corner_uv[hit_face] * weight[..., None]).sum(1)
        colour = self._texels(uv) * light[:, :3] + light[:, 3:]
        eye = torch.nonzero(self._is_eye[hit_face])[:, 0]
        normal = _blend(attributes[:, 6:], corners[eye], weight[eye])
        place = _blend(points, corners[eye], weight[eye])
        colour[eye] += _catch_light(normal, place)[:, None]

        canvas = self._room.repeat_interleave(SUPERSAMPLING, 0).repeat_interleave(SUPERSAMPLING, 1)
        canvas.view(-1, 3)[hit] = colour.clamp(0, 1)
        cells = (self._size, SUPERSAMPLING, self._size, SUPERSAMPLING, 3)
        return canvas.reshape(cells).mean((1, 3))

    def _texels(self, uv: Tensor) -> Tensor:
        """Bilinear look-up in the atlas, (n, 2) -> (n, 3) linear."""
        x = (uv[:, 0] * self._atlas_width - 0.5).clamp(0, self._atlas_width - 1.001)
        y = ((1 - uv[:, 1]) * self._atlas_height - 0.5).clamp(0, self._atlas_height - 1.001)
        left, top = x.long(), y.long()
        fx, fy = (x - left)[:, None], (y - top)[:, None]
        at = top * self._atlas_width + left
        upper = torch.lerp(self._atlas[at], self._atlas[at + 1], fx)
        at = at + self._atlas_width
        return torch.lerp(upper, torch.lerp(self._atlas[at], self._atlas[at + 1], fx), fy)


def neck_end(model: HeadModel, vertices: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Middle (3,) and half width and half depth of the neck's open end, metres."""
    ring = vertices[model.regions["boundary"]]
    low, high = ring.min(0), ring.max(0)
    half = (high - low) / 2
    return (low + high) / 2, (float(half[0]), float(half[2]))


def _region(model: HeadModel, name: str) -> Tensor:
    return torch.as_tensor(model.regions[name]).long()


def _atlas_uv(model: HeadModel, torso_uv: np.ndarray, torso_faces: np.ndarray) -> Tensor:
    """(F, 3, 2) corners of all faces in an atlas with the head above the cloth."""
    head = model.uv[model.uv_faces] * (1.0, 0.5) + (0.0, 0.5)
    cloth = torso_uv[torso_faces] * (1.0, 0.5)
    return torch.as_tensor(np.concatenate([head, cloth]), dtype=torch.float32)


def _moved(vertices: Tensor, rotation: np.ndarray, translation: np.ndarray) -> Tensor:
    matrix = torch.as_tensor(rotation, dtype=torch.float32)
    return vertices @ matrix.transpose(1, 2) + torch.as_tensor(translation).float()[:, None]


def _blend(values: Tensor, corners: Tensor, weight: Tensor) -> Tensor:
    """Barycentric mean, one corner at a time, which keeps the temporaries small."""
    total = values[corners[:, 0]] * weight[:, :1]
    total += values[corners[:, 1]] * weight[:, 1:2]
    return total.add_(values[corners[:, 2]] * weight[:, 2:])


def _catch_light(normal: Tensor, place: Tensor) -> Tensor:
    """(n,) the small bright reflection that makes an eye look wet."""
    normal = torch.nn.functional.normalize(normal, dim=1)
    view = torch.nn.functional.normalize(-place, dim=1)
    light = torch.nn.functional.normalize(torch.tensor(CATCH_LIGHT), dim=0)
    half = torch.nn.functional.normalize(view + light, dim=1)
    return 0.9 * (normal * half).sum(1).clamp_min(0) ** CATCH_EXPONENT
