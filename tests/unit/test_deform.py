"""Deformation models: FlashAvatar's network, blendshapes on the surface, saved state."""

import math
from collections import OrderedDict

import pytest
import torch

from headsplat.formats.flashavatar.checkpoint import save_checkpoint
from headsplat.gaussians.deform.base import FrameInputs, InitialState
from headsplat.gaussians.deform.blendshapes import BlendshapeDeformation
from headsplat.gaussians.deform.flashavatar import (
    DeformationMlp,
    FlashAvatarDeformation,
    encode_position,
)
from headsplat.gaussians.deform.registry import build_deformation
from headsplat.gaussians.deform.relu_network import relu_network
from headsplat.rotations import (
    matrix_from_axis_angle,
    matrix_from_quaternion,
    quaternion_from_matrix,
)
from headsplat.runtime.errors import UserError

COUNT, CODE = 50, 25


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def start() -> InitialState:
    points = torch.rand(COUNT, 3) * 0.1
    return InitialState(
        rest_positions=points,
        spacing=torch.full((COUNT,), 0.002),
        colors=torch.rand(COUNT, 3),
        opacities=torch.full((COUNT,), 0.8),
        condition_mean=torch.zeros(CODE),
        condition_scale=torch.ones(CODE),
        condition_range=torch.stack([-torch.ones(CODE), torch.ones(CODE)]),
        pose_mean=torch.tensor([1.0, 0, 0, 0, 1, 0]),
        pose_scale=torch.full((6,), 0.1),
        parts=torch.zeros(COUNT, dtype=torch.long),
        lid_growth=torch.zeros(COUNT, 2, 2),
    )


def inputs(batch: int = 2) -> FrameInputs:
    turns = matrix_from_axis_angle(torch.randn(batch, COUNT, 3))
    return FrameInputs(
        condition=torch.randn(batch, CODE),
        head_pose=torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(batch, 1),
        positions=torch.rand(batch, COUNT, 3) * 0.1,
        rotations=quaternion_from_matrix(turns),
        camera_center=torch.tensor([0.0, 0, 1]).repeat(batch, 1),
    )


def stirred(model):
    """Parameters away from their start, so that every part has an effect."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def test_network_has_the_published_sizes():
    mlp = DeformationMlp(120)
    assert sum(p.numel() for p in mlp.parameters()) == 375_562
    assert mlp.fcs[0].weight.shape == (256, 171)
    names = [f"fcs.{i}.{part}" for i in range(6) for part in ("weight", "bias")]
    assert list(mlp.state_dict()) == [*names, "output_linear.weight", "output_linear.bias"]


def test_encoding_is_x_then_sine_and_cosine_by_frequency():
    x = torch.tensor([[0.1, -0.2, 0.3]])
    encoded = encode_position(x)
    assert encoded.shape == (1, 51)
    torch.testing.assert_close(encoded[:, :3], x)
    torch.testing.assert_close(encoded[:, 3 + 6 * 5 : 6 + 6 * 5], torch.sin(32 * x))
    torch.testing.assert_close(encoded[:, 6 + 6 * 5 : 9 + 6 * 5], torch.cos(32 * x))


def test_split_first_layer_equals_the_plain_network():
    mlp = DeformationMlp(CODE)
    encoded, code = encode_position(torch.rand(7, 3)), torch.randn(3, CODE)
    rows = torch.cat([encoded.expand(3, 7, 51), code[:, None].expand(3, 7, CODE)], -1)
    hidden = rows
    for layer in mlp.fcs:
        hidden = torch.relu(layer(hidden))
    torch.testing.assert_close(mlp(encoded, code), mlp.output_linear(hidden), atol=1e-6, rtol=1e-5)


def smooth_objective(points: torch.Tensor, frames: int) -> torch.Tensor:
    """(frames, n, 10) gradients that vary slowly over the head, as those of images do."""
    return torch.sin(20 * points @ torch.randn(3, 10)).expand(frames, -1, -1)


def relative(found: torch.Tensor, true: torch.Tensor) -> float:
    return ((found - true).norm() / true.norm()).item()


@pytest.mark.parametrize(
    ("dtype", "of_output", "of_gradients"),
    [(torch.float32, 1e-6, 2e-6), (torch.bfloat16, 6e-3, 5e-2)],
)
def test_reduced_network_equals_the_plain_one(dtype, of_output, of_gradients):
    mlp = stirred(DeformationMlp(CODE))
    points, code = 0.2 * torch.rand(200, 3), torch.randn(3, CODE, requires_grad=True)
    encoded, weight = encode_position(points), smooth_objective(points, 3)
    wanted = [code, *mlp.parameters()]
    plain, reduced = mlp(encoded, code), mlp.reduced(encoded, code, dtype)
    assert reduced.dtype == torch.float32
    assert reduced.shape == (3, 200, 16)  # padded
    plain, reduced = torch.tanh(plain), torch.tanh(reduced[..., :10])
    assert relative(reduced, plain) < of_output
    true = torch.autograd.grad((plain * weight).sum(), wanted)
    found = torch.autograd.grad((reduced * weight).sum(), wanted)
    for ours, theirs in zip(found, true, strict=True):
        assert ours.dtype == torch.float32
        assert relative(ours, theirs) < of_gradients


def test_gradients_of_the_written_out_network():
    def layer(out, width):
        return [torch.randn(*size, dtype=torch.float64).requires_grad_() for size in (
            (out, width), (out,))]  # fmt: skip

    rows = torch.randn(7, 3, dtype=torch.float64)
    layers = [layer(5, 3), layer(4, 5), layer(2, 4)]
    flat = [tensor for pair in layers for tensor in pair]

    def network(*tensors):
        return relu_network(rows, *zip(tensors[::2], tensors[1::2], strict=True))

    assert torch.autograd.gradcheck(network, flat)
    hidden = rows
    for weight, bias in layers[:-1]:
        hidden = torch.relu(hidden @ weight.T + bias)
    torch.testing.assert_close(network(*flat), hidden @ layers[-1][0].T + layers[-1][1])
    fixed = [tensor.detach() for tensor in flat[:2]] + flat[2:]
    some = torch.autograd.grad(network(*fixed).sum(), flat[2:])
    every = torch.autograd.grad(network(*flat).sum(), flat)
    assert all(torch.equal(a, b) for a, b in zip(some, every[2:], strict=True))


def test_encoded_points_follow_the_points():
    model = FlashAvatarDeformation(COUNT, CODE)
    model.initialize(start())
    frames = inputs()
    with torch.no_grad():
        before = model(frames).means
        assert model._encoded() is model._encoded()
        other = FlashAvatarDeformation(COUNT, CODE)
        moved = model.state_dict() | {"rest_positions": model.rest_positions + 0.05}
        other.load_state_dict(moved)
        expected = other(frames).means
        assert not torch.equal(expected, before)
        model.load_state_dict(moved)
        assert torch.equal(model(frames).means, expected)
        assert model.double()._encoded().dtype == torch.float64


def test_flashavatar_formulas():
    model = FlashAvatarDeformation(COUNT, CODE)
    model.initialize(start())
    frames = inputs()
    out = torch.tanh(model.mlp(encode_position(model.rest_positions), frames.condition))
    got = model(frames)
    torch.testing.assert_close(got.means, frames.positions + out[..., :3])
    scales = 0.002 ** out[..., 7:].exp()  # the factor is on the logarithm
    torch.testing.assert_close(got.scales, scales, atol=1e-7, rtol=1e-4)
    torch.testing.assert_close(got.quats[..., 0], out[..., 3].exp())
    assert got.opacities.tolist() == pytest.approx([0.1] * COUNT)
    torch.testing.assert_close(got.colors[0], start_colors(model), atol=1e-5, rtol=0)
    degrees = []
    for images in (0, 499, 500, 1500, 10_000):
        model.advance(images)
        degrees.append(model.active_degree)
    assert degrees == [0, 0, 1, 3, 3]


def start_colors(model):
    return model.features_dc[:, 0] * 0.28209479177387814 + 0.5


def test_blendshapes_start_as_flat_disks_with_sampled_colors():
    model, first = BlendshapeDeformation(COUNT, CODE, 4), start()
    model.initialize(first)
    frames = inputs()
    got = model(frames)
    torch.testing.assert_close(got.means, frames.positions)
    torch.testing.assert_close(got.quats, frames.rotations)
    torch.testing.assert_close(got.colors[1], first.colors)
    torch.testing.assert_close(got.opacities, torch.full((2, COUNT), 0.8))
    assert (got.scales[..., 2] < got.scales[..., 0] / 2).all()


def test_blendshapes_turn_with_their_triangles():
    model = BlendshapeDeformation(COUNT, CODE, 4)
    model.initialize(start())
    stirred(model)
    frames = inputs(1)
    turn = matrix_from_axis_angle(torch.tensor([0.4, 0.2, -1.0]))
    turned_frames = quaternion_from_matrix(turn @ matrix_from_quaternion(frames.rotations))
    turned = FrameInputs(
        frames.condition, frames.head_pose, frames.positions @ turn.T, turned_frames,
        frames.camera_center,
    )  # fmt: skip
    before, after = model(frames), model(turned)
    torch.testing.assert_close(after.means, before.means @ turn.T, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        matrix_from_quaternion(after.quats), turn @ matrix_from_quaternion(before.quats),
        atol=1e-5, rtol=0,
    )  # fmt: skip
    torch.testing.assert_close(after.colors, before.colors)


def test_blendshapes_are_linear_in_the_mixture_and_clamp_codes():
    model = BlendshapeDeformation(COUNT, CODE, 4)
    model.initialize(start())
    stirred(model)
    frames = inputs(1)
    mixture = model.mixture(frames)
    by_hand = (model.weights[0] + mixture[0] @ model.weights[1:]) * model.units
    torch.testing.assert_close(
        model(frames).colors[0], by_hand[-3 * COUNT :].view(COUNT, 3), atol=1e-6, rtol=1e-5
    )
    far, farther = (
        FrameInputs(
            torch.full((1, CODE), value), frames.head_pose, frames.positions, frames.rotations,
            frames.camera_center,
        )
        for value in (5.0, 50.0)
    )  # fmt: skip
    torch.testing.assert_close(model.mixture(far), model.mixture(farther))


def test_every_parameter_gets_a_gradient():
    for model in (BlendshapeDeformation(COUNT, CODE, 4), FlashAvatarDeformation(COUNT, CODE)):
        model.initialize(start())
        stirred(model)
        model.advance(10_000)
        got = model(inputs())
        total = sum(
            (value * torch.randn_like(value)).sum()
            for value in (got.means, got.quats, got.scales, got.opacities, got.colors)
        )
        total.backward()
        grouped = [p for group in model.parameter_groups(4) for p in group["params"]]
        assert len(grouped) == len(list(model.parameters()))
        for parameter in grouped:
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0


def test_settings_rebuild_the_model():
    for model in (BlendshapeDeformation(COUNT, CODE, 4), FlashAvatarDeformation(COUNT, CODE, 2)):
        twin = build_deformation(model.name, model.settings())
        twin.load_state_dict(model.state_dict())
        assert twin.settings() == model.settings()
    with pytest.raises(UserError, match="no_such"):
        build_deformation("no_such", {})


def test_checkpoint_has_the_published_structure(tmp_path):
    model = FlashAvatarDeformation(COUNT, 120)
    model.initialize(start_of(120))
    optimizer = torch.optim.Adam(model.parameter_groups(1), fused=True)
    frames = inputs()
    frames = FrameInputs(
        torch.randn(2, 120), frames.head_pose, frames.positions, frames.rotations,
        frames.camera_center,
    )  # fmt: skip
    model.advance(2000)
    got = model(frames)
    (got.means.sum() + got.scales.sum() + got.quats.sum() + got.colors.sum()
     + got.opacities.sum()).backward()  # fmt: skip
    optimizer.step()
    path = save_checkpoint(tmp_path, model, got.means[0], optimizer.state_dict(), 3000)
    assert path.name == "chkpnt3000.pth"
    deform, gauss, iteration = torch.load(path, map_location="cpu", weights_only=True)
    assert iteration == 3000
    assert isinstance(deform[0], OrderedDict)
    assert deform[0]["fcs.0.weight"].shape == (256, 171)
    assert sorted(deform[1]["state"]) == list(range(14))
    assert deform[1]["param_groups"][0]["params"] == list(range(14))
    assert deform[1]["state"][13]["exp_avg"].shape == (10,)
    shapes = [tuple(item.shape) for item in gauss[1:10]]
    count = COUNT
    assert shapes == [
        (count, 3), (count, 1, 3), (count, 15, 3), (count, 3), (count, 4), (count, 1), (count,),
        (count, 1), (count, 1),
    ]  # fmt: skip
    assert gauss[0] == 3
    assert all(isinstance(item, torch.nn.Parameter) for item in gauss[2:7])
    assert gauss[1].requires_grad
    assert not isinstance(gauss[1], torch.nn.Parameter)
    names = [group["name"] for group in gauss[10]["param_groups"]]
    assert names == ["f_dc", "f_rest", "opacity", "scaling", "rotation"]
    assert [group["params"] for group in gauss[10]["param_groups"]] == [[i] for i in range(5)]
    assert gauss[10]["state"][4]["exp_avg"].shape == (count, 4)
    assert gauss[11] == 0
    assert math.isclose(gauss[10]["param_groups"][2]["lr"], 0.05)


def start_of(size: int) -> InitialState:
    base = start()
    return InitialState(**{**vars(base), "condition_mean": torch.zeros(size),
                    "condition_scale": torch.ones(size),
                    "condition_range": torch.zeros(2, size)})  # fmt: skip
