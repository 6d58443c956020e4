"""DynAvatar's deformation against a plain evaluation of its equations."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import silu

from headsplat.gaussians.deform.base import FrameInputs, standardize
from headsplat.gaussians.deform.dynavatar import (
    ALL,
    CONDITION,
    GAIN,
    HOST,
    PARTS,
    DynAvatarDeformation,
)
from headsplat.gaussians.deform.registry import build_deformation
from headsplat.rotations import matrix_from_quaternion
from headsplat.runtime.errors import UserError
from tests.unit.test_deform import CODE, COUNT, inputs, start


def made(parts: str, stir: float = 0.05) -> DynAvatarDeformation:
    torch.manual_seed(0)
    model = DynAvatarDeformation(COUNT, CODE, parts)
    model.initialize(start())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += stir * torch.randn_like(parameter)
    return model


def plain(model: DynAvatarDeformation, frames: FrameInputs, b: int, i: int) -> dict:
    """Offset, turn, log-scale, logit and color of Gaussian i in frame b, in float64."""
    weights = {name: value.double() for name, value in model.state_dict().items()}
    weights["units"] = model.units.double()

    def layer(name: str, value: torch.Tensor) -> torch.Tensor:
        return weights[f"{name}.weight"] @ value + weights.get(f"{name}.bias", 0)

    code = torch.cat([frames.condition, frames.head_pose], -1)[b].double()
    low, high = weights["code_range"]
    code = standardize(code.clamp(low, high), weights["code_mean"], weights["code_scale"])
    point = weights["encoded"][i]
    hidden = point
    for number in range(4):
        hidden = layer(f"trunk.{number}", hidden)
        if number == 0 or model.parts != HOST:
            hidden = hidden + layer(f"condition.{number}", code)
        hidden = silu(hidden)
    changed = torch.zeros(11, dtype=torch.float64)
    if model.parts in (HOST, CONDITION):
        moved = layer("displacement", hidden)
    else:
        corrected = silu(layer("context", hidden) + layer("context_code", code))
        psi = layer("codes", code) + layer("context_output", corrected)
        bases = layer("bases_output", silu(layer("bases_hidden", point)))
        moved = bases.view(3, 32) @ psi
    if model.parts == ALL:
        inner = silu(layer("attributes_hidden", torch.cat([moved, psi])))
        changed = layer("attributes_output", silu(layer("attributes_middle", inner)))
    base = weights["base"].split([COUNT * size for size in (3, 4, 3, 1, 3)])
    units = weights["units"].split([COUNT * size for size in (3, 4, 3, 1, 3)])
    delta = torch.cat([moved, changed]).split([3, 4, 3, 1, 3])
    names = ("offset", "quat", "log_scale", "opacity", "color")
    return {
        name: (own.view(COUNT, -1)[i] + GAIN * change) * unit.view(COUNT, -1)[i]
        for name, own, unit, change in zip(names, base, units, delta, strict=True)
    }


@pytest.mark.parametrize("parts", PARTS)
def test_the_model_is_its_equations(parts):
    model, frames = made(parts), inputs(3)
    found = model(frames)
    for b, i in ((0, 0), (1, 7), (2, COUNT - 1)):
        expected = plain(model, frames, b, i)
        turn = matrix_from_quaternion(frames.rotations[b, i].double())
        mean = frames.positions[b, i].double() + turn @ expected["offset"]
        torch.testing.assert_close(found.means[b, i].double(), mean, atol=1e-6, rtol=1e-4)
        scale = expected["log_scale"].exp().clamp_max(0.02)
        torch.testing.assert_close(found.scales[b, i].double(), scale, atol=1e-7, rtol=1e-4)
        opacity = expected["opacity"].sigmoid()[0]
        torch.testing.assert_close(found.opacities[b, i].double(), opacity, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            found.colors[b, i].double(), expected["color"], atol=1e-5, rtol=1e-4
        )


def test_it_begins_as_disks_that_nothing_moves():
    torch.manual_seed(0)
    model = DynAvatarDeformation(COUNT, CODE)
    begin = start()
    model.initialize(begin)
    frames = inputs()
    gaussians = model(frames)
    torch.testing.assert_close(gaussians.means, frames.positions)
    torch.testing.assert_close(gaussians.colors, begin.colors.expand(2, COUNT, 3))
    torch.testing.assert_close(gaussians.opacities, begin.opacities.expand(2, COUNT))


@pytest.mark.parametrize("parts", PARTS)
def test_every_parameter_learns(parts):
    model = made(parts)
    gaussians = model(inputs())
    shapes = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities)
    sum((value * torch.randn_like(value)).sum() for value in (*shapes, gaussians.colors)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_attributes_do_not_pull_at_displacements():
    model = made(ALL)
    model(inputs()).colors.sum().backward()
    assert model.bases_output.weight.grad is None or model.bases_output.weight.grad.abs().max() == 0


def test_noise_and_limits_of_codes():
    model, frames = made(ALL), inputs()
    noisy = replace(frames, code_noise=torch.randn(2, CODE + 6))
    assert not torch.equal(model(noisy).means, model(frames).means)
    far = replace(frames, condition=frames.condition + 1e6)
    farther = replace(frames, condition=frames.condition + 1e7)
    torch.testing.assert_close(model(far).means, model(farther).means)


def test_hidden_ones_stay_hidden_in_every_frame():
    model, hidden = made(ALL, 0.5), torch.arange(COUNT) % 2 == 0
    model.hide(hidden)
    assert (model(inputs(4)).opacities[:, hidden] < 1e-4).all()
    again = build_deformation("dynavatar", model.settings())
    again.load_state_dict(model.state_dict())
    frames = inputs()
    torch.testing.assert_close(again(frames).means, model(frames).means)
    assert (again(frames).opacities[:, hidden] < 1e-4).all()


def test_unknown_parts_are_refused():
    with pytest.raises(UserError, match="parts: expected one of host, condition, context, all"):
        build_deformation("dynavatar", {"count": 5, "condition_size": 3, "parts": "none"})
