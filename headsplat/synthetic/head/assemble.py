"""Put the parts together: one mesh with its facts, atlas and paint table."""

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
    """The finished mesh in millimetres.

    Attributes:
        anatomy: per-vertex facts.
        skin: ids and bare places of the skin.
        parts: ids of the other parts.
        faces: (F, 3) triangles.
        uv: (T, 2) atlas.
        uv_faces: (F, 3).
        face_part: (F,) part of every triangle.
        attributes: (V, 9) what the paint depends on, columns as `paint` names them.
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
    """Build the mesh; always the same."""
    assembly = Assembly()
    skin = add_skin(assembly)
    parts = add_parts(assembly)
    anatomy = describe(assembly)
    faces, uv_faces = np.concatenate(assembly.faces), np.concatenate(assembly.uv_faces)
    uv = np.concatenate(assembly.uv)
    # A triangle that joins the lips to the cavity belongs to the cavity: the larger number.
    face_part = anatomy.part[faces].max(1)
    bare = anatomy.points.copy()
    bare[: len(skin.bare)] = skin.bare
    vertex_uv = np.zeros((len(bare), 2))
    vertex_uv[faces.ravel()] = uv[uv_faces.ravel()]
    rings = (anatomy.eye_ring, anatomy.eye_upper, anatomy.mouth_ring, anatomy.mouth_upper)
    attributes = np.column_stack([bare, *rings, vertex_uv])
    return Head(anatomy, skin, parts, faces, uv, uv_faces, face_part, attributes)
