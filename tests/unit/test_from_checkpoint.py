"""FlashAvatar checkpoints: rendered by the published formulas, imported, and trained further."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import import_avatar as import_script
import train_avatar as train_script
from headsplat.avatar_files import load_avatar
from headsplat.evaluate.report.training import training_curves
from headsplat.formats.flashavatar.checkpoint import read_checkpoint
from headsplat.frame_code import FrameCode
from headsplat.gaussians.anchors import faces_touching, rasterize_uv, texel_count
from headsplat.gaussians.deform.codes import (
    camera_center,
    posed_vertices,
)
from headsplat.gaussians.raster.gaussians import rasterize_gaussians
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.heads.unpickle import load_pickle
from headsplat.heads.wavefront import read_textured_mesh
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_json
from headsplat.track import read_track
from headsplat.train.from_checkpoint import read_fitting
from tests.oracles.deformation import basis
from tests.unit import published_checkpoint as official
from tests.unit.sphere_head import sphere_head
from tests.unit.tiny_clip import make_clip

UV, OTHER_UV = 24, 32
FLAGS = ["--model", "flashavatar", "--uv-size", str(UV), "--batch", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def head(clip):
    return HeadModel.load(clip.head)


@pytest.fixture(scope="module")
def track(clip, head):
    return read_track(clip.track, head)


@pytest.fixture(scope="module")
def value(head):
    return official.aged(official.published(texel_count(head, UV), FrameCode.size(head), 5003))


@pytest.fixture(scope="module")
def file(value, tmp_path_factory):
    folder = tmp_path_factory.mktemp("theirs")
    return official.write(folder / "chkpnt5003.pth", value, on_gpu=True)


def import_to(folder, clip, file, uv: int = UV):
    flags = ["--head", clip.head, "--track", clip.track, "--checkpoint", file]
    import_script.main([*map(str, flags), "--uv-size", str(uv), "--out", str(folder)])
    return folder


def train_to(folder, clip, file, *more: str):
    flags = ["--scratch", str(folder / "scratch"), "--out", str(folder / "model")]
    start = [] if file is None else ["--checkpoint", str(file)]
    train_script.main([*clip.arguments(), *flags, *FLAGS, *start, *more])
    return folder / "model"


def direct(value, head, track, rows):
    """The published formulas over every covered texel, masked at the end."""
    (state, _), gauss, _ = value
    degree, _, dc, rest, scaling_base, rotation_base, opacity, *_ = gauss
    network = official.Network(51 + FrameCode.size(head))
    network.load_state_dict(state)
    face, weights = rasterize_uv(head.uv, head.uv_faces, UV)
    kept = torch.from_numpy(~faces_touching(head, "boundary")[face])
    assert 0 < kept.sum() < len(kept)
    corners = torch.from_numpy(head.faces[face].astype(np.int64))

    def texels(vertices):
        return (torch.from_numpy(weights)[..., None] * vertices[:, corners]).sum(-2)

    geometry, condition = HeadGeometry(head), track.codes().vector[rows]
    (point,) = texels(
        posed_vertices(geometry, track.identity(), FrameCode.neutral(head).vector[None])
    )
    waves = [f(point * 2.0**k) for k in range(8) for f in (torch.sin, torch.cos)]
    encoded = torch.cat([point, *waves], -1).expand(len(rows), -1, -1)
    codes = condition[:, None].expand(-1, len(point), -1)
    y = network(torch.cat([encoded, codes], -1))
    surface = texels(posed_vertices(geometry, track.identity(), condition))
    means = (surface + y[..., :3])[:, kept]
    y = y[:, kept]
    w, i, j, k = rotation_base.unbind(-1)
    a, b, c, d = y[..., 3].exp(), *y[..., 4:7].unbind(-1)
    quats = torch.stack([
        w * a - i * b - j * c - k * d, w * b + i * a + j * d - k * c,
        w * c - i * d + j * a + k * b, w * d + i * c - j * b + k * a,
    ], -1)  # fmt: skip
    scales = (scaling_base * y[..., 7:].exp()).exp()
    center = camera_center(*(value[rows] for value in track.poses()))
    view = torch.nn.functional.normalize(means - center[:, None], dim=-1)
    harmonics = torch.cat([dc, rest], 1)
    colors = (basis(view, degree)[..., None] * harmonics).sum(-2) + 0.5
    return means, quats, scales, torch.sigmoid(opacity[:, 0]), colors.clamp_min(0)


@torch.no_grad()
def test_imported_avatars_render_by_the_formulas(clip, head, track, value, file, tmp_path):
    avatar = load_avatar(import_to(tmp_path / "model", clip, file), head, "cpu")
    rows = torch.tensor([2, 7])
    codes, intrinsics = track.codes().vector[rows], track.intrinsics()
    camera = *(value[rows] for value in track.poses()), intrinsics
    size, black = (track.width, track.height), torch.zeros(3)
    image, _ = avatar.render_codes(codes, *camera, *size, black)
    middle = intrinsics.clone()
    middle[2:] = torch.tensor(size) / 2
    assert not torch.equal(middle, intrinsics), "or the test tells nothing"
    expected, _ = rasterize_gaussians(
        *direct(value, head, track, rows), *camera[:2], middle.expand(2, 4), *size, black
    )
    assert expected.amax() > 0.3
    assert (expected[0] - expected[1]).abs().amax() > 0.05
    torch.testing.assert_close(image, expected.clamp(0, 1), atol=2e-5, rtol=0)


def test_import_writes_the_files_of_training(clip, value, file, tmp_path):
    folder = import_to(tmp_path / "model", clip, file)
    ours = read_checkpoint(folder / "chkpnt5003.pth")
    official.assert_same(tuple(ours.gauss.values()), value[1])
    facts = read_json(folder / "training.json")
    assert facts["checkpoint"] == {"file": "chkpnt5003.pth", "iteration": 5003}
    assert facts["gaussians"] == len(value[1][2])
    page = training_curves(facts, {"psnr_head_train": 1.0, "psnr_head": 1.0})
    assert "0 steps" in page


def test_training_continues_from_a_checkpoint(clip, value, file, tmp_path):
    first = train_to(tmp_path / "a", clip, file, "--steps", "1")
    second = train_to(tmp_path / "b", clip, first / "chkpnt5005.pth", "--steps", "3")
    theirs, one = read_checkpoint(file), read_checkpoint(first / "chkpnt5005.pth")
    after = read_checkpoint(second / "chkpnt5011.pth")
    assert theirs.centered
    assert one.centered
    assert after.centered
    assert after.iteration == 5011
    assert after.gauss["active_sh_degree"] == 3
    for number, entry in enumerate(theirs.network_adam["state"].values()):
        # Step 3 of Adam: the old moments fade, they do not start anew.
        later = one.network_adam["state"][number]
        assert later["step"] == entry["step"] + 1 == 3
        assert after.network_adam["state"][number]["step"] == 6
    rates = {"_features_dc": 0.0025, "_opacity": 0.05, "_rotation_base": 0.001}
    for name, rate in rates.items():
        moved = (one.gauss[name] - theirs.gauss[name]).abs()
        assert 0 < moved.amax() < 4 * rate
    facts = read_json(second / "training.json")
    assert facts["checkpoint"] == {"file": "chkpnt5005.pth", "iteration": 5005}
    assert facts["options"]["coarse_fraction"] == 0


def test_moments_are_taken_over_by_the_first_step(clip, file, tmp_path):
    one = read_checkpoint(train_to(tmp_path, clip, file, "--steps", "1") / "chkpnt5005.pth")
    before = read_checkpoint(file).gauss["optimizer"]["state"][2]
    after = one.gauss["optimizer"]["state"][2]
    # exp_avg = 0.9 old + 0.1 gradient; the tiny clip's gradients are far below the old moments.
    torch.testing.assert_close(after["exp_avg"], 0.9 * before["exp_avg"], atol=2e-3, rtol=0)
    assert before["exp_avg"].abs().mean() > 0.05


def losses(folder):
    return [loss for _, loss in read_json(folder / "training.json")["losses"]["total"]]


def test_own_checkpoints_round_trip_and_train_on(clip, head, tmp_path):
    first = train_to(tmp_path / "first", clip, None, "--steps", "30")
    back = import_to(tmp_path / "back", clip, first / "chkpnt60.pth")
    ours, imported = (load_avatar(folder, head, "cpu") for folder in (first, back))
    assert not ours.centered
    assert not imported.centered
    official.assert_same(imported.deformation.state_dict(), ours.deformation.state_dict())
    np.testing.assert_array_equal(imported.anchors.face, ours.anchors.face)
    second = train_to(tmp_path / "second", clip, first / "chkpnt60.pth", "--steps", "30")
    assert (second / "chkpnt120.pth").is_file()
    scratch, resumed = losses(first), losses(second)
    assert np.mean(resumed[:10]) < np.mean(scratch[:10])
    assert np.mean(resumed[-10:]) < 0.8 * np.mean(scratch[:10])


def refused(clip, path, uv, tmp_path, train):
    def attempt():
        if train:
            return train_to(tmp_path, clip, path, "--steps", "1", "--uv-size", str(uv))
        return import_to(tmp_path / "model", clip, path, uv)

    with pytest.raises(UserError) as error:
        attempt()
    assert not (tmp_path / "model").exists()
    return str(error.value)


@pytest.mark.parametrize("train", [False, True])
def test_another_uv_size_or_head_is_refused(clip, head, file, tmp_path, train):
    count, wrong = texel_count(head, UV), texel_count(head, OTHER_UV)
    assert refused(clip, file, OTHER_UV, tmp_path, train) == (
        f"{file}: gauss[2] (_features_dc) holds {count} Gaussians, a UV map of {OTHER_UV} texels a "
        f"side {wrong}; it was trained with another head than sphere or another UV map; name those"
    )
    other = official.write(tmp_path / "o.pth", official.published(wrong, FrameCode.size(head)))
    assert refused(clip, other, UV, tmp_path, train) == (
        f"{other}: gauss[2] (_features_dc) holds {wrong} Gaussians, a UV map of {UV} texels a "
        f"side {count}; set train.uv_size to {OTHER_UV}, which has as many"
    )
    codes = official.write(tmp_path / "codes.pth", official.published(count, 120))
    assert refused(clip, codes, UV, tmp_path, train) == (
        f"{codes}: deform[0]['fcs.0.weight'] takes codes of 120 numbers (100 expressions), head "
        "sphere has 23 (3); name the head it was trained with"
    )


def test_other_models_refuse_checkpoints(clip, file, tmp_path):
    with pytest.raises(UserError, match=r"chkpnt5003\.pth: the model blendshapes cannot go on"):
        train_to(tmp_path, clip, file, "--model", "blendshapes", "--steps", "1")


def test_published_size_is_that_of_flame_at_128(shared, tmp_path):
    folder = shared / "assets/flame_public"
    mesh = read_textured_mesh(folder / "FlameMesh.obj")
    boundary = np.asarray(load_pickle(folder / "FLAME_masks.pkl")["boundary"], np.int32)
    flame = replace(
        sphere_head(), template=np.zeros((5023, 3), np.float32), faces=mesh.faces, uv=mesh.uv,
        uv_faces=mesh.uv_faces, regions={"boundary": boundary},
        expression_basis=np.zeros((5023, 3, 100), np.float32), name="flame",
    )  # fmt: skip
    path = official.write(tmp_path / "chkpnt150000.pth", official.published(13_453, 120, 150_000))
    checkpoint = read_fitting(path, flame, 128)
    assert sum(value.numel() for value in checkpoint.network.values()) == 375_562
    with pytest.raises(UserError, match=r"of 64 texels a side 3348; set train.uv_size to 128,"):
        read_fitting(path, flame, 64)
