"""The procedural head as a `HeadModel`, generated from curves and displacement fields.

No face detector is needed: landmarks come from the curves; `calibrated` refines them.
"""

import numpy as np

from headsplat.heads.model import HeadModel
from headsplat.synthetic.head.anatomy import eyelids, inner_parts, joint_regressor, skinning
from headsplat.synthetic.head.assemble import Head, assemble
from headsplat.synthetic.head.embedding import (
    contour_embedding,
    mediapipe_embedding,
    mediapipe_targets,
    multipie_embedding,
)
from headsplat.synthetic.head.expressions import expression_basis
from headsplat.synthetic.head.grid import LEFT_EAR, RIGHT_EAR, SKIN
from headsplat.synthetic.head.identity import identity_basis
from headsplat.synthetic.head.surface import hair_amount
from headsplat.synthetic.head.texture import vertex_colors

Array = np.ndarray

VERSION = "1"
# The origin lies inside the head, behind the tip of the nose.
ORIGIN_SHIFT = np.array([0.0, 0.0, -25.0])


def procedural_head() -> HeadModel:
    """The head with landmarks from its own curves; deterministic."""
    head = assemble()
    anatomy = head.anatomy
    _, shapes = identity_basis(anatomy)
    names, expressions = expression_basis(anatomy)

    def meters(millimeters: Array) -> Array:
        return (millimeters / 1000).astype(np.float32)

    # Rows sum to 1, so a shift of the vertices shifts all joints.
    return HeadModel(
        template=meters(anatomy.points + ORIGIN_SHIFT),
        shape_basis=meters(shapes),
        expression_basis=meters(expressions),
        joint_regressor=joint_regressor(anatomy).astype(np.float32),
        parents=np.array([-1, 0, 1, 1, 1], dtype=np.int32),
        skinning=skinning(anatomy).astype(np.float32),
        eyelid_basis=meters(eyelids(anatomy)),
        faces=head.faces.astype(np.int32),
        uv=head.uv.astype(np.float32),
        uv_faces=head.uv_faces.astype(np.int32),
        regions=_regions(head),
        landmarks={
            "mediapipe": mediapipe_embedding(head, mediapipe_targets(head)),
            "multipie68": multipie_embedding(head),
            "contour": contour_embedding(head),
        },
        shape_std=np.ones(shapes.shape[2], dtype=np.float32),
        expression_std=np.full(len(names), 0.35, dtype=np.float32),
        expression_range=np.tile(np.float32([0, 1]), (len(names), 1)),
        expression_names=names,
        albedo=vertex_colors(head),
        name="procedural",
        version=VERSION,
        licence="MIT",
    )


def _regions(head: Head) -> dict[str, Array]:
    anatomy = head.anatomy
    x, y, z = head.attributes[:, :3].T
    skin = anatomy.part == SKIN
    front = skin & (z > -8) & (anatomy.mouth_ring <= 2.25)
    hair = skin & (hair_amount(head.attributes[:, :3]) > 0)
    # The neck begins under a line from behind the ear to the throat below the chin.
    throat = y < -62 - 0.45 * (z + 40).clip(0)
    masks = {
        "lips": (anatomy.mouth_ring >= 1) & (anatomy.mouth_ring <= 2.25) & skin,
        "eye_region": skin & (((np.abs(x) - 32) / 22) ** 2 + ((y - 37) / 19) ** 2 < 1) & front,
        "neck": skin & ~hair & (throat | (z <= -8)),
        "scalp": hair,
        "nose": front & (np.abs(x) < 18) & (y > -14.5) & (y < 40) & (anatomy.eye_ring == 0),
        "forehead": front & ~hair & (y > 60),
        "brows": front & (np.abs(np.abs(x) - 30) < 21) & (np.abs(y - 55) < 6),
        "left_ear": anatomy.part == LEFT_EAR,
        "right_ear": anatomy.part == RIGHT_EAR,
    }
    masks["face"] = front & ~hair & ~masks["neck"]
    parts = {name: np.sort(ids) for name, ids in (head.parts | inner_parts(anatomy)).items()}
    parts["teeth"] = np.sort(np.concatenate([parts["upper_teeth"], parts["lower_teeth"]]))
    regions = {name: np.flatnonzero(mask) for name, mask in masks.items()} | parts
    regions["boundary"] = np.sort(head.skin.bottom)
    return {name: ids.astype(np.int32) for name, ids in regions.items()}
