"""PLY export: 3D Gaussian Splatting's format, and equal rendering."""

import numpy as np
import pytest
import torch

import export_ply
from headsplat.avatar import Avatar
from headsplat.avatar_files import save_avatar
from headsplat.formats.importing.clip import make_track
from headsplat.frame_code import FrameCode
from headsplat.gaussians.anchors import sample_anchors
from headsplat.gaussians.deform.registry import build_deformation
from headsplat.gaussians.raster.gaussians import rasterize_gaussians
from headsplat.rotations import matrix_from_axis_angle
from headsplat.runtime.errors import UserError
from headsplat.track import write_track
from tests.oracles.deformation import harmonic_colors
from tests.unit.sphere_head import sphere_head

COUNT = 200
NAMES = [
    "x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2",
    *(f"f_rest_{k}" for k in range(45)),
    "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3",
]  # fmt: skip


@pytest.fixture(params=["blendshapes", "flashavatar"])
def avatar(request) -> Avatar:
    torch.manual_seed(0)
    head = sphere_head()
    settings = {"count": COUNT, "condition_size": FrameCode.size(head)}
    if request.param == "flashavatar":
        settings["degree"] = 2
    model = build_deformation(request.param, settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        if request.param == "flashavatar":
            model.features_rest.add_(0.3 * torch.randn_like(model.features_rest))
            model.features_dc.add_(torch.randn_like(model.features_dc))
            model.scaling_base.fill_(-5.0)
            model.rotation_base[:, 0] += 1
            model.mlp.output_linear.weight.mul_(0.01)
            model.mlp.output_linear.bias.mul_(0.01)
        else:
            _, quat, scale, _, color = model._split(model.weights[0])
            quat[:, 0] = 50
            scale.fill_(-240)
            color.uniform_(0, 100)
    anchors = sample_anchors(head, head.template, COUNT)
    return Avatar(head, torch.zeros(2), anchors, model, torch.device("cpu"))


def write_inputs(folder, avatar) -> list[str]:
    head = avatar.head
    (folder / "model").mkdir()
    head.save(folder / "head.npz")
    code = FrameCode.neutral(head).vector[None].repeat(2, 1).double().numpy()
    E = head.expression_basis.shape[2]
    code[1, :E] = 0.5
    turn = torch.tensor([[0.0, 0.2, 0.0], [0.1, -0.3, 0.05]])
    R = torch.diag(torch.tensor([1.0, -1, -1])) @ matrix_from_axis_angle(turn)
    track = make_track(
        head, np.array([1, 7]), np.zeros(2), code[:, :E], code[:, E : E + 6],
        code[:, E + 6 : E + 18], code[:, E + 18 :], R.numpy(),
        np.array([[0, 0, 0.7], [0.01, 0.02, 0.8]]), np.diag([100.0, 100, 1]), (36, 40),
    )  # fmt: skip
    write_track(folder / "track.npz", track)
    save_avatar(folder / "model", avatar, folder / "head.npz", folder / "track.npz")
    names = {"--model": "model", "--head": "head.npz", "--track": "track.npz"}
    files = [part for flag, name in names.items() for part in (flag, str(folder / name))]
    return [*files, "--ply-axes", "head"]


def read_ply(path) -> dict[str, np.ndarray]:
    head, body = path.read_bytes().split(b"end_header\n", 1)
    lines = head.decode().splitlines()
    assert lines[:3] == ["ply", "format binary_little_endian 1.0", f"element vertex {COUNT}"]
    assert lines[3:] == [f"property float {name}" for name in NAMES]
    values = np.frombuffer(body, "<f4").reshape(COUNT, len(NAMES))
    return dict(zip(NAMES, values.T, strict=True))


def drawn(cloud, R, t) -> torch.Tensor:
    """The published viewer's activations, then an image."""

    def columns(name: str, count: int) -> torch.Tensor:
        return torch.tensor(np.stack([cloud[f"{name}_{k}"] for k in range(count)], 1))

    means = torch.tensor(np.stack([cloud[k] for k in "xyz"], 1))
    rest = columns("f_rest", 45).reshape(COUNT, 3, 15).transpose(1, 2)
    harmonics = torch.cat([columns("f_dc", 3)[:, None], rest], 1)
    center = -(R[0].T @ t[0])
    colors = harmonic_colors(harmonics[:, :1], harmonics[:, 1:], means[None], center[None], 3)
    color, _ = rasterize_gaussians(
        means[None], columns("rot", 4)[None], columns("scale", 3).exp(),
        torch.sigmoid(torch.tensor(cloud["opacity"])), colors,
        R, t, torch.tensor([100.0, 100, 21, 18]), 40, 36, torch.tensor([0.2, 0.4, 0.6]),
    )  # fmt: skip
    return color.clamp(0, 1)


def test_one_frame_renders_like_the_avatar(tmp_path, avatar):
    out = tmp_path / "7.ply"
    export_ply.main([*write_inputs(tmp_path, avatar), "--pose", "7", "--out", str(out)])
    turn = matrix_from_axis_angle(torch.tensor([[0.1, -0.3, 0.05]]))
    R = torch.diag(torch.tensor([1.0, -1, -1])) @ turn
    t = torch.tensor([[0.01, 0.02, 0.8]])
    code = FrameCode.neutral(avatar.head).vector[None]
    code[:, : avatar.head.expression_basis.shape[2]] = 0.5
    background = torch.tensor([0.2, 0.4, 0.6])
    expected, alpha = avatar.render_codes(
        code, R, t, torch.tensor([100.0, 100, 21, 18]), 40, 36, background
    )
    assert alpha.max() > 0.3
    assert (drawn(read_ply(out), R, t) - expected).abs().max() < 2e-4


def test_neutral_is_another_pose_seen_from_the_front(tmp_path, avatar):
    flags = write_inputs(tmp_path, avatar)
    export_ply.main([*flags, "--out", str(tmp_path / "neutral.ply")])
    export_ply.main([*flags, "--pose", "7", "--out", str(tmp_path / "7.ply")])
    neutral, posed = read_ply(tmp_path / "neutral.ply"), read_ply(tmp_path / "7.ply")
    assert np.abs(neutral["x"] - posed["x"]).max() > 1e-4
    R = torch.diag(torch.tensor([1.0, -1, -1]))[None]
    t = torch.tensor([[0.0, 0, 0.75]])
    expected, _ = avatar.render_codes(
        FrameCode.neutral(avatar.head).vector[None], R, t, torch.tensor([100.0, 100, 21, 18]),
        40, 36, torch.tensor([0.2, 0.4, 0.6]),
    )  # fmt: skip
    assert (drawn(neutral, R, t) - expected).abs().max() < 2e-4
    lengths = np.sqrt(sum(neutral[f"rot_{k}"] ** 2 for k in range(4)))
    np.testing.assert_allclose(lengths, 1, atol=1e-5)
    assert not any(neutral[k].any() for k in ("nx", "ny", "nz"))


def test_a_frame_that_the_track_lacks_is_refused(tmp_path, avatar):
    flags = write_inputs(tmp_path, avatar)
    with pytest.raises(UserError, match="has no frame 5; take one of 1 to 7"):
        export_ply.main([*flags, "--pose", "5", "--out", str(tmp_path / "5.ply")])
    assert not (tmp_path / "5.ply").exists()
