"""Parts of the head that Gaussians lie on."""

import numpy as np

from headsplat.gaussians.anchors import Anchors, faces_inside
from headsplat.heads.model import HeadModel

SKIN, EYE_REGION, LIDS, EYEBALLS = range(4)
# Vertices that closing a lid moves further than this, in meters, belong to the lids.
_LID_MOTION = 1e-3


def anchor_parts(head: HeadModel, anchors: Anchors) -> np.ndarray:
    """(N,) int64 part of each anchor; `SKIN` is everything that is in no other part.

    Lids are the faces whose corners all move when a lid of the head model closes. `EYE_REGION` is
    the rest of the head model's region of that name.
    """
    moves = np.linalg.norm(head.eyelid_basis, axis=1).max(1) > _LID_MOTION
    eyeballs = faces_inside(head, "left_eyeball") | faces_inside(head, "right_eyeball")
    part = np.where(faces_inside(head, "eye_region"), EYE_REGION, SKIN)
    part[moves[head.faces].all(1)] = LIDS
    part[eyeballs] = EYEBALLS
    return part[anchors.face].astype(np.int64)
