"""Assemble the procedural head's mesh, atlas and per-vertex attributes."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from headsplat.synthetic.head.anatomy import Anatomy, describe
from headsplat.synthetic.head.grid import Assembly
from headsplat.synthetic.head.parts import add_parts
from headsplat.synthetic.head.skin import Skin, add_skin

Array = np.ndarray


@dataclass(frozen=True)
class Head:
    """The finished mesh in millimeters.

    Attributes:
        anatomy: per-vertex data.
        skin: ids and bare places of the skin.
        parts: ids of the other parts.
        faces: (F, 3) triangles.
        uv: (T, 2) atlas.
        uv_faces: (F, 3).
        face_part: (F,) part of every triangle.
        attributes: (V, 9) inputs of the paint functions, columns as named in `paint`.
    """

    anatomy: Anatomy
    skin: Skin
    parts: dict[str, Array]
    faces: Array
    uv: Array
    uv_faces: Array
    face_part: Array
    attributes: Array


@cache
def assemble() -> Head:
    """Build the mesh; deterministic."""
    assembly = Assembly()
    skin = add_skin(assembly)
    parts = add_parts(assembly)
    anatomy = describe(assembly)
    faces, uv_faces = np.concatenate(assembly.faces), np.concatenate(assembly.uv_faces)
    uv = np.concatenate(assembly.uv)
    # A triangle between lips and cavity belongs to the cavity, the larger part number.
    face_part = anatomy.part[faces].max(1)
    bare = anatomy.points.copy()
    bare[: len(skin.bare)] = skin.bare
    vertex_uv = np.zeros((len(bare), 2))
    vertex_uv[faces.ravel()] = uv[uv_faces.ravel()]
    rings = (anatomy.eye_ring, anatomy.eye_upper, anatomy.mouth_ring, anatomy.mouth_upper)
    attributes = np.column_stack([bare, *rings, vertex_uv])
    return Head(anatomy, skin, parts, faces, uv, uv_faces, face_part, attributes)
