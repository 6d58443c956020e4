"""`FrameRenderer` equals `Avatar.render_codes`, and both pose paths agree."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from headsplat.avatar import Avatar
from headsplat.evaluate.evaluation import _speed
from headsplat.evaluate.pairs import render_pairs
from headsplat.frame_code import FrameCode
from headsplat.gaussians.anchors import AnchoredSurface, Anchors
from headsplat.gaussians.deform.codes import head_pose_6d, posed_vertices
from headsplat.heads.skinning import HeadGeometry, SubjectGeometry
from headsplat.render import FrameRenderer, _padded
from headsplat.rotations import matrix_from_axis_angle, matrix_from_quaternion
from headsplat.track import Track
from tests.unit.driven import make_track
from tests.unit.sphere_avatar import BACKGROUND, moving, sphere_avatar
from tests.unit.sphere_head import sphere_head
from tests.unit.toy_head import toy_head

WIDTH, HEIGHT = 40, 36
INTRINSICS = torch.tensor([100.0, 100, 21, 18])


def renderer_of(avatar: Avatar, batch: int) -> FrameRenderer:
    return FrameRenderer(avatar, batch, WIDTH, HEIGHT, INTRINSICS, BACKGROUND)


@pytest.fixture(scope="module", params=["blendshapes", "flashavatar"])
def avatar(request) -> Avatar:
    return sphere_avatar(request.param)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_render_equals_avatar_render_codes(avatar, count):
    color, alpha = renderer_of(avatar, 4).render(*moving(count))
    expected = avatar.render_codes(*moving(count), INTRINSICS, WIDTH, HEIGHT, BACKGROUND)
    assert color.shape == (count, HEIGHT, WIDTH, 3)
    assert torch.equal(color, expected[0])
    assert torch.equal(alpha, expected[1])
    assert alpha.max() > 0.5


def test_any_number_of_frames_comes_in_batches(avatar):
    batches = list(renderer_of(avatar, 4).frames(*moving(11)))
    assert [len(color) for color, _ in batches] == [4, 4, 3]
    expected, alpha = avatar.render_codes(*moving(11), INTRINSICS, WIDTH, HEIGHT, BACKGROUND)
    torch.testing.assert_close(torch.cat([c for c, _ in batches]), expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(torch.cat([a for _, a in batches]), alpha, atol=2e-6, rtol=0)
    assert not torch.equal(expected[0], expected[5])


def test_a_short_batch_is_filled_with_its_last_frame():
    value = torch.arange(6.0).view(3, 2)
    padded = _padded(value, 5)
    assert torch.equal(padded[:3], value)
    assert torch.equal(padded[3:], value[2:].repeat(2, 1))
    assert _padded(value, 3) is value


def test_wrong_sizes_are_refused(avatar):
    renderer = renderer_of(avatar, 2)
    condition, rotation, translation = moving(3)
    with pytest.raises(ValueError, match="at most 2 frames, got 3; `frames` takes any number"):
        renderer.render(condition, rotation, translation)
    with pytest.raises(ValueError, match="at least one frame"):
        renderer.render(condition[:0], rotation[:0], translation[:0])
    with pytest.raises(ValueError, match=r"condition: expected shape \[B 23\], got \[2, 22\]"):
        renderer.render(condition[:2, 1:], rotation[:2], translation[:2])
    with pytest.raises(ValueError, match=r"rotation: expected shape \[2 3 3\]"):
        renderer.render(condition[:2], rotation, translation[:2])
    with pytest.raises(ValueError, match=r"translation: expected shape \[3 3\]"):
        next(renderer.frames(condition, rotation, translation[:, :2]))
    with pytest.raises(ValueError, match="batch: expected 1 or more, got 0"):
        renderer_of(avatar, 0)
    with pytest.raises(ValueError, match="intrinsics: expected shape"):
        FrameRenderer(avatar, 1, WIDTH, HEIGHT, INTRINSICS[None], BACKGROUND)
    with pytest.raises(ValueError, match="background: expected shape"):
        FrameRenderer(avatar, 1, WIDTH, HEIGHT, INTRINSICS, BACKGROUND[:2])


class CountingReader:
    """White images with half a head mask; knows what was read."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    def read(self, frame_id: int) -> np.ndarray:
        self.ids.append(frame_id)
        planes = np.full((HEIGHT, WIDTH, 5), 255, np.uint8)
        planes[:, : WIDTH // 2, 3] = 0
        return planes


def ball_track(avatar: Avatar, count: int) -> Track:
    codes, R, t = moving(count)
    exp, jaw, eyes, eyelids = (part.numpy() for part in FrameCode(codes).unpack())
    fx, fy, cx, cy = INTRINSICS.numpy()
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)
    return replace(
        make_track(avatar.head, count), exp=exp, jaw=jaw, eyes=eyes, eyelids=eyelids,
        R=R.numpy(), t=t.numpy(), K=K, img_size=np.array([HEIGHT, WIDTH]),
    )  # fmt: skip


def test_evaluation_holds_one_batch_at_a_time(avatar):
    reader, track = CountingReader(), ball_track(avatar, 12)
    ids = [2, 3, 5, 7, 11, 12, 1]
    batches = render_pairs(renderer_of(avatar, 4), track, reader, ids)
    first = next(batches)
    assert reader.ids == ids[:4]
    kept = first.render.clone()
    second = next(batches)
    assert (first.ids, second.ids) == (ids[:4], ids[4:])
    assert torch.equal(first.render, kept)
    expected = avatar.render(track[track.rows(ids)], BACKGROUND.tolist())
    both = torch.cat([first.render, second.render])
    torch.testing.assert_close(both, expected, atol=2e-6, rtol=0)
    assert first.ground_truth[0, 0, :, 0].tolist() == [0.0] * (WIDTH // 2) + [1.0] * (WIDTH // 2)
    assert next(batches, None) is None


def test_speeds_are_frames_per_second(avatar):
    speeds = _speed(renderer_of(avatar, 4), ball_track(avatar, 6), [2, 4, 5])
    assert set(speeds) == {"fps_single", "fps_batched"}
    assert all(1 < value < 1e6 for value in speeds.values())


@pytest.mark.parametrize("pose", [True, False])
def test_subject_geometry_equals_head_geometry(pose):
    geometry = HeadGeometry(toy_head(pose=pose), dtype=torch.float64)
    make = torch.Generator().manual_seed(1)
    noise = lambda *shape: 0.4 * torch.randn(*shape, generator=make, dtype=torch.float64)  # noqa: E731
    shape, exp, lids = noise(6), noise(4, 5), noise(4, 2)
    rotations = matrix_from_axis_angle(noise(4, 3, 3))
    ids = torch.tensor([7, 0, 31, 12])
    expected = geometry.vertices(
        shape, exp, rotations[:, 0], rotations[:, 1:], lids, vertex_ids=ids
    )
    subject = SubjectGeometry(geometry, shape, ids)
    # The toy's skinning weights sum to one in float32 only.
    torch.testing.assert_close(subject.vertices(exp, rotations, lids), expected, atol=1e-7, rtol=0)
    with pytest.raises(ValueError, match=r"exp: expected shape \[B 5\]"):
        subject.vertices(exp[:, 1:], rotations, lids)


def test_both_pose_paths_agree():
    avatar = sphere_avatar("blendshapes")
    condition, rotation, translation = moving(3)
    vertices = avatar.vertices(condition)
    ids = avatar._surface.vertex_ids
    expected = posed_vertices(HeadGeometry(avatar.head), avatar.shape, condition, ids)
    torch.testing.assert_close(vertices, expected, atol=1e-7, rtol=0)
    inputs = avatar.inputs(condition, vertices, rotation, translation)
    assert torch.equal(inputs.head_pose, head_pose_6d(rotation))
    with pytest.raises(ValueError, match=r"condition: expected shape \[B 23\]"):
        avatar.vertices(condition[:, 1:])


def test_anchors_frames_in_all_directions():
    """Against the frame's definition in float64; random turns meet all forms of a quaternion."""
    head, count = sphere_head(), 2000
    make = np.random.default_rng(0)
    face = make.integers(len(head.faces), size=count).astype(np.int32)
    weights = make.dirichlet(np.ones(3), count).astype(np.float32)
    height = make.uniform(0, 0.02, count).astype(np.float32)
    surface = AnchoredSurface(Anchors(face, weights, height), head, "cpu")
    turns = matrix_from_axis_angle(torch.from_numpy(make.normal(size=(8, 3)) * 2))
    vertices = torch.from_numpy(head.template).double() @ turns.transpose(1, 2)
    positions, rotations = surface.place(vertices[:, surface.vertex_ids].float())
    a, b, c = (vertices[:, head.faces[face, k]] for k in range(3))
    first = torch.nn.functional.normalize(b - a, dim=-1)
    normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    expected = torch.stack([first, torch.linalg.cross(normal, first), normal], -1)
    found = matrix_from_quaternion(rotations.double())
    assert set(rotations.abs().argmax(-1).flatten().tolist()) == {0, 1, 2, 3}
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
    torch.testing.assert_close(rotations.norm(dim=-1), torch.ones(8, count), atol=1e-6, rtol=0)
    mixed = torch.einsum("nk,kbnc->bnc", torch.from_numpy(weights).double(), torch.stack([a, b, c]))
    lifted = mixed + torch.from_numpy(height).double()[:, None] * normal
    torch.testing.assert_close(positions.double(), lifted, atol=1e-6, rtol=0)
