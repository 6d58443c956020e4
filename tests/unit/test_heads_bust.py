"""The generic bust: it continues the neck of every head model, wide and outward."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from headsplat.heads.bust import AROUND, RINGS, bust
from headsplat.heads.flame import _regions
from headsplat.heads.model import HeadModel
from headsplat.heads.normals import vertex_normals
from headsplat.synthetic.head.head import procedural_head

from . import ict_head
from .sphere_head import sphere_head


def flame_like(shared) -> HeadModel:
    """FLAME's published regions on a mean of the same topology; other arrays are not read."""
    table = np.load(shared / "assets/flame_standin/flame_standin.npz")
    regions = _regions(shared / "assets/flame_public/FLAME_masks.pkl")
    return replace(sphere_head(), template=table["v_template"], regions=regions)


@pytest.fixture(params=["procedural", "ict", "flame"])
def model(request) -> HeadModel:
    if request.param == "procedural":
        return procedural_head()
    shared = request.getfixturevalue("shared")
    return ict_head.head(shared) if request.param == "ict" else flame_like(shared)


def test_continues_the_neck_and_widens_to_shoulders(model):
    made = bust(model, model.template)
    assert made.vertices.shape == (RINGS * AROUND, 3)
    assert made.vertices.dtype == np.float32
    assert made.faces.shape == (2 * (RINGS - 1) * AROUND, 3)
    assert made.faces.dtype == np.int32
    rings = made.vertices.reshape(RINGS, AROUND, 3)
    rim = model.template[model.regions["boundary"]]
    np.testing.assert_allclose(np.ptp(rings[0], 0)[[0, 2]], np.ptp(rim, 0)[[0, 2]], atol=2e-3)
    gap = np.linalg.norm(rim[:, None] - rings[0], axis=2).min(1)
    assert np.median(gap) < 0.02
    width, height = np.ptp(rings[:, :, 0], 1), rings[:, :, 1].mean(1)
    assert (np.diff(width)[: RINGS // 2] > 0).all()
    assert 0.4 < width.max() < 0.5
    assert (np.diff(height) < 0).all()
    assert 0.3 < height[0] - height[-1] < 0.4
    assert rings[0, 0, 2] > rings[0, AROUND // 2, 2]
    assert rings[0, AROUND // 4, 0] > 0


def test_is_closed_around_and_faces_outward(model):
    made = bust(model, model.template)
    vertices, faces = torch.from_numpy(made.vertices), torch.from_numpy(made.faces).long()
    normals = vertex_normals(vertices, faces).reshape(RINGS, AROUND, 3)
    axis = vertices.reshape(RINGS, AROUND, 3).mean(1, keepdim=True)
    assert ((vertices.reshape(RINGS, AROUND, 3) - axis) * normals).sum(-1).min() > 0
    pairs = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1).values
    counts = pairs.unique(dim=0, return_counts=True)[1]
    # Only the two open ends have edges of one triangle.
    assert (counts == 1).sum() == 2 * AROUND
    assert counts.max() == 2
