"""Second round of tracking: codes and poses that fit an avatar's renders."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import track_on_avatar as script
from headsplat.avatar import Avatar
from headsplat.avatar_files import load_avatar
from headsplat.frame_code import FrameCode
from headsplat.heads.model import HeadModel
from headsplat.refit import run
from headsplat.refit.place import differentiable_gaussians
from headsplat.refit.solve import Refit, windows
from headsplat.refit.unknowns import Unknowns
from headsplat.rotations import matrix_from_6d, matrix_from_axis_angle, matrix_to_6d
from headsplat.runtime.errors import UserError
from headsplat.track import Track, head_moves, read_track
from headsplat.train.options import train_options
from headsplat.train.run import train_avatar
from tests.unit.sphere_avatar import moving, sphere_avatar
from tests.unit.tiny_clip import TinyClip, make_clip

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> TinyClip:
    return make_clip(tmp_path_factory.mktemp("clip"), 12, 48)


def trained(clip: TinyClip, folder: Path, **options) -> Path:
    values = {"steps": 60, "batch": 2, "gaussians": 400, "lpips_weight": 0.0} | options
    train_avatar(
        clip.head, clip.track, clip.split, [clip.frames], [clip.alpha], [clip.parsing],
        folder / "scratch", folder / "model", train_options(**values), folder, "cpu", 100, 50, "t",
    )  # fmt: skip
    return folder / "model"


@pytest.fixture(scope="module")
def model(clip, tmp_path_factory) -> Path:
    return trained(clip, tmp_path_factory.mktemp("avatar"))


@pytest.fixture(scope="module")
def avatar(clip, model) -> Avatar:
    return load_avatar(model, HeadModel.load(clip.head), CPU)


@pytest.fixture(scope="module")
def true(clip, avatar) -> Track:
    return read_track(clip.track, avatar.head)


def rendered(avatar: Avatar, track: Track):
    """Reader of the avatar's own renders of a track as planes."""
    with torch.no_grad():
        color = avatar.render(track, (0, 0, 0))
        ones = avatar.render(track, (1, 1, 1))
    alpha = (1 - (ones - color).mean(-1, keepdim=True)).clamp(0, 1)
    planes = torch.cat([color / alpha.clamp_min(1e-3), alpha, torch.zeros_like(alpha)], -1)
    planes = (planes.clamp(0, 1) * 255).round().byte()
    return lambda rows: planes[rows]


def shaken(track: Track, degrees: float, mm: float) -> Track:
    """The track with another pose in every frame."""
    generator = torch.Generator().manual_seed(1)
    turn = torch.randn(len(track), 3, generator=generator) * np.radians(degrees)
    R = track.R @ matrix_from_axis_angle(turn).numpy()
    t = track.t + torch.randn(len(track), 3, generator=generator).numpy() * mm / 1000
    head_R, head_t, camera_R, camera_t = head_moves(R, t)
    return replace(
        track, R=R.astype(np.float32), t=t.astype(np.float32), head_R=head_R, head_t=head_t,
        camera_R=camera_R, camera_t=camera_t,
    )  # fmt: skip


def error(avatar: Avatar, track: Track, true: Track) -> torch.Tensor:
    """(N,) mean squared differences of the avatar's renders of two tracks."""
    images = [avatar.render(some, (0, 0, 0)) for some in (track, true)]
    return (images[0] - images[1]).square().mean((1, 2, 3))


def test_windows_end_at_gaps_and_unusable_frames():
    ids = np.array([1, 2, 3, 4, 6, 7, 8, 9])
    usable = np.array([True, True, True, True, True, True, False, True])
    found = [(window.low, window.high) for window in windows(ids, usable, 3)]
    assert found == [(0, 3), (3, 4), (4, 6), (7, 8)]
    assert windows(ids[:0], usable[:0], 3) == []


def test_gradients_match_finite_differences(avatar, true):
    everything = np.ones(len(true), bool)
    solver = Refit(avatar, true, everything, rendered(avatar, shaken(true, 1, 2)))
    rows, planes = torch.tensor([2, 7]), rendered(avatar, shaken(true, 1, 2))([2, 7])
    moved = torch.zeros(2, solver._unknowns.start().shape[1], requires_grad=True)
    solver._image_terms(moved, rows, planes).sum().backward()
    step = 0.02
    for entry in range(6):  # the pose; codes hardly move this head's few colors
        change = torch.zeros_like(moved)
        change[:, entry] = step
        with torch.no_grad():
            high, low = (solver._image_terms(s * change, rows, planes) for s in (1, -1))
        numeric = (high - low) / (2 * step)
        torch.testing.assert_close(moved.grad[:, entry], numeric, rtol=0.15, atol=2e-6)


@pytest.mark.parametrize("attribute", ["means", "quats", "scales", "opacities", "colors"])
def test_gradients_of_codes_match_finite_differences(attribute):
    torch.manual_seed(0)
    avatar = sphere_avatar("blendshapes")
    with torch.no_grad():  # offsets of millimeters, and bases that show
        avatar.deformation._split(avatar.deformation.weights[0])[0].normal_(0, 8)
        avatar.deformation.weights[1:] *= 50
        avatar.deformation.code_range.copy_(torch.tensor([[-9.0], [9.0]]))  # none is clamped
    code, rotation, translation = moving(2)
    trunk = torch.cat([torch.eye(3), torch.tensor([[0.01], [0.0], [0.02]])], 1).expand(2, 3, 4)
    shape = getattr(avatar.gaussians(code, rotation, translation, trunk), attribute).shape
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(3))

    def weighted(make, code: torch.Tensor) -> torch.Tensor:
        made = make(avatar, code, rotation, translation, trunk)
        return (getattr(made, attribute) * weights).double().flatten(1).sum(1)

    moved = code.clone().requires_grad_(True)
    weighted(differentiable_gaussians, moved).sum().backward()
    step, numeric = 2e-2, torch.zeros_like(code)
    with torch.no_grad():
        for entry in range(code.shape[1]):
            change = torch.zeros_like(code)
            change[:, entry] = step
            high, low = (weighted(Avatar.gaussians, code + side * change) for side in (1, -1))
            numeric[:, entry] = (high - low) / (2 * step)
    assert (moved.grad - numeric).norm() < 0.01 * numeric.norm()


def test_a_shaken_track_is_found_again(avatar, true):
    start = shaken(true, 0.5, 1)
    everything = np.ones(len(true), bool)
    solved = Refit(avatar, start, everything, rendered(avatar, true)).solve()
    assert (error(avatar, solved, true) < 0.2 * error(avatar, start, true)).all()
    across = [np.abs(track.t - true.t)[:, :2].max(1) for track in (solved, start)]
    assert np.median(across[0]) < 0.7 * np.median(across[1])
    np.testing.assert_allclose(
        solved.R @ np.swapaxes(solved.R, 1, 2), np.eye(3)[None].repeat(len(true), 0), atol=1e-5
    )


def test_frames_without_images_and_bad_frames_keep_their_codes(avatar, true, monkeypatch):
    start = shaken(true, 0.5, 1)
    usable = np.ones(len(true), bool)
    usable[4] = False
    solver = Refit(avatar, start, usable, rendered(avatar, true))
    terms = solver._image_terms

    def broken(moved, rows, planes):
        return terms(moved, rows, planes) * torch.where(rows == 7, torch.nan, 1.0)

    monkeypatch.setattr(solver, "_image_terms", broken)
    solved = solver.solve()
    for row in (4, 7):
        np.testing.assert_allclose(solved.R[row], start.R[row], atol=1e-6)
        np.testing.assert_allclose(solved.exp[row], start.exp[row], atol=1e-6)
    better = error(avatar, solved, true) < 0.2 * error(avatar, start, true)
    assert (~better).nonzero()[:, 0].tolist() == [4, 7]


def test_codes_stay_in_their_range(avatar, true):
    head = replace(avatar.head, expression_range=np.tile([-0.4, 0.4], (3, 1)).astype(np.float32))
    unknowns = Unknowns(head, true, CPU)
    code = unknowns.poses(unknowns.start() + 1000, torch.arange(len(true))).condition
    assert (code[:, :3] <= max(0.4, true.exp.max()) + 1e-6).all()
    assert code[:, -2:].max() <= 1
    code = unknowns.poses(unknowns.start() - 1000, torch.arange(len(true))).condition
    assert code[:, -2:].min() >= 0


def test_codes_are_written_as_they_were_fitted(avatar, true):
    unknowns = Unknowns(avatar.head, true, CPU)
    change = torch.randn(unknowns.start().shape, generator=torch.Generator().manual_seed(2))
    fitted = unknowns.poses(change, torch.arange(len(true))).condition
    written = unknowns.track(change).frames().code.vector
    torch.testing.assert_close(written, fitted)
    joints = FrameCode(fitted).joints
    torch.testing.assert_close(matrix_to_6d(matrix_from_6d(joints)), joints)


def arguments(clip: TinyClip, model: Path, folder: Path) -> list[str]:
    names = ("head", "track", "frames", "alpha", "parsing")
    found = [part for name in names for part in (f"--{name}", str(getattr(clip, name)))]
    return [
        *found, "--avatar", str(model), "--device", "cpu", "--scratch", str(folder / "scratch"),
        "--out", str(folder / "avatar_track.npz"),
    ]  # fmt: skip


def test_an_interrupted_stage_continues(clip, model, tmp_path, monkeypatch):
    script.main(arguments(clip, model, tmp_path / "whole"))
    kept = run.write_npz

    def dies(path, **arrays):
        kept(path, **arrays)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "write_npz", dies)
    with pytest.raises(KeyboardInterrupt):
        script.main(arguments(clip, model, tmp_path / "again"))
    monkeypatch.setattr(run, "write_npz", kept)
    assert not (tmp_path / "again/avatar_track.npz").exists()
    assert len(list((tmp_path / "again/scratch").rglob("*.npz"))) == 1
    script.main(arguments(clip, model, tmp_path / "again"))
    whole, again = (read_track(tmp_path / n / "avatar_track.npz") for n in ("whole", "again"))
    np.testing.assert_array_equal(whole.R, again.R)
    np.testing.assert_array_equal(whole.exp, again.exp)


def test_another_deformation_model_is_refused(clip, tmp_path):
    other = trained(clip, tmp_path, model="flashavatar", uv_size=16)
    with pytest.raises(UserError, match="needs an avatar of the model blendshapes"):
        script.main(arguments(clip, other, tmp_path))
