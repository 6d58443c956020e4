"""Scene of the built-in clip: head and torso as one lit and textured mesh in front of a room."""

import numpy as np
import torch
from torch import Tensor

from headsplat.camera import project
from headsplat.heads.model import HeadModel
from headsplat.heads.normals import vertex_normals
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_axis_angle
from headsplat.synthetic.drawing import Painter, Surface
from headsplat.synthetic.head.paint import Person
from headsplat.synthetic.head.texture import paint_texture
from headsplat.synthetic.parameters import ClipParameters
from headsplat.synthetic.room import paint_room
from headsplat.synthetic.shading import light_vertices, sky_openness
from headsplat.synthetic.torso import build_torso, paint_cloth

GAMMA = 2.2
NOISE = 1.3
NOISE_FIELDS = 16
ATLAS_SIDE = 1024
# Colors of the subject, other than the head model's defaults.
PERSON = Person(
    skin=(0.84, 0.64, 0.53), hair=(0.30, 0.16, 0.09), brows=(0.22, 0.12, 0.08),
    iris=(0.36, 0.46, 0.34), brow_width=4.8, blush=0.35,
)  # fmt: skip
EYES = ("left_eyeball", "right_eyeball")
GLOSS = {"face": 0.09, "lips": 0.12, "nose": 0.12, "forehead": 0.11, "scalp": 0.03}
# Sky visibility inside the mouth is constant, because it is zero for a closed mouth.
OPENNESS = {"teeth": 0.55, "mouth_interior": 0.25} | dict.fromkeys(EYES, 0.75)
# Parts with outlines of their own, even where close to the skin.
SHEETS = dict.fromkeys(EYES, 2.0) | {
    "teeth": 3.0, "mouth_interior": 4.0, "left_ear": 5.0, "right_ear": 5.0, "tongue": 6.0,
}  # fmt: skip


class Scene:
    """Renders frames of the built-in clip.

    Args:
        model: the procedural head.
        shape: (S,) its identity.
        size: side of the image in pixels.
        intrinsics: (4,) fx, fy, cx, cy in pixels.
        seed: random seed of the sensor noise.
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
        torso = build_torso(*neck_end(model, neutral.numpy()))
        self._torso = torch.as_tensor(torso.vertices)
        torso_faces = torch.as_tensor(torso.faces).long() + len(neutral)
        self._faces = torch.cat([self._geometry.faces, torso_faces])
        self._openness = sky_openness(torch.cat([neutral, self._torso]), self._faces)
        self._gloss = torch.zeros(len(self._openness))
        _set_regions(self._openness, model, OPENNESS)
        _set_regions(self._gloss, model, GLOSS | dict.fromkeys(EYES, 0.0))
        cloth = torch.as_tensor(paint_cloth(torso, ATLAS_SIDE)) / 255
        texels = torch.cat([torch.as_tensor(paint_texture(ATLAS_SIDE, PERSON)), cloth]) ** GAMMA
        surface = Surface(
            self._faces,
            _atlas_uv(model, torso.uv, torso.faces),
            *_parts(model, self._faces, len(neutral)),
            texels,
        )
        self._painter = Painter(surface, (torch.tensor(paint_room(size)) / 255) ** GAMMA)
        self._intrinsics = torch.as_tensor(intrinsics, dtype=torch.float32)
        fields = np.random.default_rng(seed).standard_normal((NOISE_FIELDS, size, size, 3), "f4")
        self._noise = torch.as_tensor(fields) * NOISE

    def draw(
        self, parameters: ClipParameters, torso_R: np.ndarray, torso_t: np.ndarray, first: int
    ) -> Tensor:
        """Frames as (B, size, size, 3) uint8.

        Args:
            parameters: the B frames.
            torso_R: (B, 3, 3) head axes to camera for the torso.
            torso_t: (B, 3) meters.
            first: number of the first frame, which seeds the noise.
        """
        batch = len(parameters.exp)
        head = self._geometry.vertices(
            self._shape,
            torch.as_tensor(parameters.exp),
            matrix_from_axis_angle(torch.as_tensor(parameters.jaw)),
            matrix_from_axis_angle(torch.as_tensor(parameters.eyes).reshape(batch, 2, 3)),
            torch.as_tensor(parameters.eyelids),
        )
        torso = self._torso.expand(batch, -1, -1)
        places = torch.cat(
            [_moved(head, parameters.R, parameters.t), _moved(torso, torso_R, torso_t)], 1
        )
        normals = vertex_normals(places, self._faces)
        light = light_vertices(places, normals, self._openness, self._gloss)
        still = torch.eye(3).expand(batch, 3, 3), torch.zeros(batch, 3)
        pixels = project(places, *still, self._intrinsics)
        shown = self._painter.draw(pixels, places, light, normals) ** (1 / GAMMA) * 255
        grain = self._noise[torch.arange(first, first + batch) * 7 % NOISE_FIELDS]
        return (shown + grain).round_().clamp_(0, 255).to(torch.uint8)


def neck_end(model: HeadModel, vertices: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Middle (3,) and half width and half depth of the neck's open end, meters."""
    ring = vertices[model.regions["boundary"]]
    low, high = ring.min(0), ring.max(0)
    half = (high - low) / 2
    return (low + high) / 2, (float(half[0]), float(half[2]))


def _set_regions(values: Tensor, model: HeadModel, numbers: dict[str, float]) -> None:
    """Overwrite `values` (V,) in the named regions, if the model has them."""
    for name, number in numbers.items():
        if name in model.regions:
            values[torch.as_tensor(model.regions[name]).long()] = number


def _parts(model: HeadModel, faces: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Number of the smooth sheet of each face (F,), and whether it is of an eye (F,)."""
    part = torch.zeros(int(faces.max()) + 1)
    part[heads:] = 1
    _set_regions(part, model, SHEETS)
    part = part[faces].amin(1)
    return part, part == 2


def _atlas_uv(model: HeadModel, torso_uv: np.ndarray, torso_faces: np.ndarray) -> Tensor:
    """(F, 3, 2) corners of all faces in an atlas with the head above the cloth."""
    head = model.uv[model.uv_faces] * (1.0, 0.5) + (0.0, 0.5)
    cloth = torso_uv[torso_faces] * (1.0, 0.5)
    return torch.as_tensor(np.concatenate([head, cloth]), dtype=torch.float32)


def _moved(vertices: Tensor, rotation: np.ndarray, translation: np.ndarray) -> Tensor:
    matrix = torch.as_tensor(rotation, dtype=torch.float32)
    return vertices @ matrix.transpose(1, 2) + torch.as_tensor(translation).float()[:, None]
