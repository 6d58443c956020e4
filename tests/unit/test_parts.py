"""Parts of the head: eyeballs that stay rigid, lids that follow their own codes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from headsplat.frame_code import FrameCode
from headsplat.gaussians.anchors import AnchoredSurface, sample_anchors
from headsplat.gaussians.deform.base import FrameInputs
from headsplat.gaussians.deform.blendshapes import EYEBALL_DEPTH, LID_BASES, BlendshapeDeformation
from headsplat.gaussians.deform.codes import posed_vertices
from headsplat.gaussians.parts import EYE_REGION, EYEBALLS, LIDS, SKIN, anchor_parts
from headsplat.heads.skinning import HeadGeometry
from headsplat.synthetic.head.head import procedural_head
from tests.unit.test_deform import CODE, COUNT, inputs, start


@pytest.fixture(scope="module")
def procedural():
    return procedural_head()


@pytest.fixture(scope="module")
def anchors(procedural):
    return sample_anchors(procedural, procedural.template, 3000)


def trained(model, frames, steps=3):
    """The model after some steps towards random Gaussians."""
    optimizer = torch.optim.Adam(model.parameter_groups(2))
    for _ in range(steps):
        optimizer.zero_grad()
        made = model(frames)
        parts = (made.means, made.quats, made.scales, made.opacities, made.colors)
        sum((part * torch.randn_like(part)).sum() for part in parts).backward()
        optimizer.step()
    return model


def test_every_eye_has_lids_and_an_eyeball(procedural, anchors):
    parts = anchor_parts(procedural, anchors)
    points = anchors.rest_points(procedural.template, procedural.faces)
    for side in (points[:, 0] > 0, points[:, 0] < 0):
        for part in (EYE_REGION, LIDS, EYEBALLS):
            assert (parts[side] == part).sum() > 8, part
    eyeballs = procedural.template[procedural.regions["left_eyeball"]]
    left = points[(parts == EYEBALLS) & (points[:, 0] > 0)]
    assert (left >= eyeballs.min(0) - 1e-6).all()
    assert (left <= eyeballs.max(0) + 1e-6).all()
    assert (parts == SKIN).mean() > 0.5


def test_growth_is_the_stretch_of_a_triangle(procedural, anchors):
    surface = AnchoredSurface(anchors, procedural, "cpu")
    before = torch.as_tensor(procedural.template)[surface.vertex_ids]
    assert surface.growth(before, before).abs().max() < 1e-4
    torch.testing.assert_close(
        surface.growth(before, 2 * before), torch.full((len(anchors), 2), np.log(2.0)).float(),
        atol=1e-3, rtol=0,
    )  # fmt: skip


def test_lids_grow_as_they_close(procedural, anchors):
    surface = AnchoredSurface(anchors, procedural, "cpu")
    codes = FrameCode.neutral(procedural).vector.repeat(2, 1)
    codes[1, -2:] = 1
    identity = torch.zeros(procedural.shape_basis.shape[2])
    vertices = posed_vertices(HeadGeometry(procedural), identity, codes, surface.vertex_ids)
    growth = surface.growth(*vertices).amax(1)
    lids = torch.from_numpy(anchor_parts(procedural, anchors) == LIDS)
    assert growth[lids].mean() > 0.1
    assert growth[~lids].abs().median() < 1e-3


def test_only_what_may_change_learns():
    parts = torch.arange(COUNT) % 4
    model = BlendshapeDeformation(COUNT, CODE, 6)
    model.initialize(replace(start(), parts=parts))
    first = [value.clone() for value in model._split(model.weights.detach())]
    trained(model, inputs())
    offset, quat, log_scale, opacity, color = (
        (after.detach() - before).abs().amax(-1) > 0
        for before, after in zip(first, model._split(model.weights), strict=True)
    )
    shape = (offset, quat, log_scale, opacity)
    assert all(part[0].all() for part in (*shape, color))  # the base, offsets in the plane at least
    depth = model._split(model.weights)[0][0, parts == EYEBALLS, 2]
    torch.testing.assert_close(depth, first[0][0, parts == EYEBALLS, 2])
    for part in shape:
        assert not part[1:, parts == EYEBALLS].any()
        assert not part[1 : 1 + LID_BASES, parts == SKIN].any()
        assert part[1 : 1 + LID_BASES, parts == LIDS].all()
        assert not part[1 + LID_BASES :, parts == LIDS].any()
        assert part[1 + LID_BASES :, parts == SKIN].all()
    assert color[1 + LID_BASES :].all()
    assert not color[1 : 1 + LID_BASES, parts == SKIN].any()


def test_lid_bases_are_weighted_by_the_lids_alone():
    model = BlendshapeDeformation(COUNT, CODE, 6)
    mean, scale = torch.full((CODE,), 0.3), torch.full((CODE,), 0.2)
    model.initialize(replace(start(), condition_mean=mean, condition_scale=scale))
    frames = inputs()
    trained(model, frames)
    code = torch.rand(2, CODE) * 0.5
    weights = model.mixture(replace(frames, condition=code))[:, :LID_BASES]
    torch.testing.assert_close(weights, code[:, -2:])


def test_eyeballs_begin_below_their_surface():
    parts = torch.arange(COUNT) % 4
    model = BlendshapeDeformation(COUNT, CODE, 6)
    model.initialize(replace(start(), parts=parts))
    frames: FrameInputs = inputs(1)
    flat = replace(frames, rotations=torch.tensor([1.0, 0, 0, 0]).expand(1, COUNT, 4).contiguous())
    depth = (flat.positions - model(flat).means)[0, :, 2]
    torch.testing.assert_close(
        depth[parts == EYEBALLS], torch.full((int((parts == EYEBALLS).sum()),), EYEBALL_DEPTH)
    )
    assert depth[parts != EYEBALLS].abs().max() < 1e-6
