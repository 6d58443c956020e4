"""Whole clips with known truth: accuracy, gaps, cuts, resuming, long clips."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.synthetic_tracks import detect, make_truth, write_inputs
from headsplat.errors import UserError
from headsplat.frame_io import read_frame
from headsplat.heads.procedural.head import procedural_head
from headsplat.rotations import axis_angle_from_matrix, matrix_from_6d
from headsplat.scratch import Scratch
from headsplat.track_io import camera_moves, check_head, read_track, write_track
from headsplat.tracking import run, schedule
from headsplat.tracking.export import export_frames

FRAMES, MISSING = 72, (30, 31, 32, 33)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    head = procedural_head()
    head.save(folder / "head.npz")
    truth = make_truth(head, FRAMES, seed=3)
    landmarks, crop = detect(head, truth, noise=0.7, outliers=0.02, missing=MISSING)
    write_inputs(folder, landmarks, crop)
    return folder, head, truth


def track(folder, out, **options):
    names = ("head.npz", "landmarks.npz", "crop.json", "frames.tsv")
    paths = [folder / name for name in names]
    run.track_head(*paths, out / "track.npz", out / "identity.npy", **options)
    return read_track(out / "track.npz")


@pytest.fixture(scope="module")
def solved(clip, tmp_path_factory):
    folder, _, truth = clip
    intrinsics = f"{truth.focal},{truth.focal},256,256"
    return track(folder, tmp_path_factory.mktemp("out"), intrinsics=intrinsics)


def turn_errors(solved, truth):
    off = torch.as_tensor(solved.R).double() @ torch.as_tensor(truth.rotation).mT
    return torch.rad2deg(axis_angle_from_matrix(off).norm(dim=-1)).numpy()


def angles(six):
    return axis_angle_from_matrix(matrix_from_6d(torch.as_tensor(six))).numpy()


def test_pose_and_face_are_the_truth(clip, solved):
    truth = clip[2]
    assert np.median(turn_errors(solved, truth)) < 1.0
    for side in (0, 1):
        assert np.corrcoef(solved.eyelids[:, side], truth.lids[:, side])[0, 1] > 0.9
    jaw, gaze = angles(solved.jaw), angles(solved.eyes.reshape(-1, 2, 6))
    assert np.corrcoef(jaw[:, 0], truth.jaw[:, 0])[0, 1] > 0.9
    assert np.corrcoef(gaze[:, 0, 1], truth.eyes[:, 0, 1])[0, 1] > 0.9
    assert np.nanmedian(solved.residual_iod) < 0.012
    assert solved.exp.min() >= 0
    assert solved.exp.max() <= 1
    assert solved.eyelids.max() > 0.85


def test_gap_is_bridged_and_marked(clip, solved):
    truth, missing = clip[2], list(MISSING)
    assert np.flatnonzero(solved.interpolated).tolist() == missing
    assert np.isnan(solved.residual_px[missing]).all()
    assert not np.isnan(np.delete(solved.residual_px, missing)).any()
    assert turn_errors(solved, truth)[missing].max() < 4


def test_both_forms_of_motion_agree(solved):
    rotation, translation = camera_moves(
        solved.head_R, solved.head_t, solved.camera_R, solved.camera_t
    )
    np.testing.assert_allclose(rotation, solved.R, atol=1e-6)
    np.testing.assert_allclose(translation, solved.t, atol=1e-6)
    np.testing.assert_array_equal(solved.camera_R, np.diag([1, -1, -1]))


def test_track_with_a_bad_array_is_refused(solved, tmp_path):
    with pytest.raises(UserError, match=r"'jaw' has shape \[72, 3\]"):
        write_track(tmp_path / "track.npz", replace(solved, jaw=solved.jaw[:, :3]))
    broken = solved.t.copy()
    broken[5] = np.nan
    with pytest.raises(UserError, match="'t' is not finite"):
        write_track(tmp_path / "track.npz", replace(solved, t=broken))
    with pytest.raises(UserError, match="made with head model procedural"):
        check_head(solved, "ict", "1")
    with pytest.raises(UserError, match="no frames with ids 99"):
        solved.rows([1, 99])


def test_export_writes_one_frame_per_image(clip, solved, tmp_path):
    write_track(tmp_path / "track.npz", solved)
    export_frames(tmp_path / "track.npz", tmp_path / "checkpoint")
    names = sorted(p.name for p in (tmp_path / "checkpoint").iterdir())
    assert names == [f"{k:05d}.frame" for k in range(FRAMES)]
    frame = read_frame(tmp_path / "checkpoint" / "00011.frame")
    row = solved.rows([12])[0]
    np.testing.assert_array_equal(frame["opencv"]["R"][0], solved.R[row])
    count = solved.exp.shape[1]
    np.testing.assert_array_equal(frame["flame"]["exp"][0, :count], solved.exp[row])


def first_frames(truth, count):
    names = ("exp", "jaw", "eyes", "lids", "rotation", "translation")
    return {name: getattr(truth, name)[:count] for name in names}


def test_killed_run_resumes_to_the_same_result(clip, tmp_path, monkeypatch):
    _, head, truth = clip
    folder = tmp_path / "short"
    folder.mkdir()
    write_inputs(folder, *detect(head, replace(truth, **first_frames(truth, 24))))
    head.save(folder / "head.npz")
    straight = track(folder, tmp_path, scratch=tmp_path / "a")

    class KilledError(Exception):
        pass

    keep, calls = run._Keeper.save, []

    def dies(self, stage, progress):
        keep(self, stage, progress)
        calls.append(stage)
        if len(calls) == 5:
            raise KilledError

    monkeypatch.setattr(run._Keeper, "save", dies)
    with pytest.raises(KilledError):
        track(folder, tmp_path, scratch=tmp_path / "b")
    assert list((tmp_path / "b").rglob("*.npz"))
    monkeypatch.setattr(run._Keeper, "save", keep)
    resumed = track(folder, tmp_path, scratch=tmp_path / "b")
    for name in ("R", "t", "exp", "jaw", "eyelids", "shape", "K"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(straight, name))
    assert not list((tmp_path / "b").rglob("*.npz"))
    assert Scratch(tmp_path / "b", "other").folder.is_dir()


def test_windows_give_what_one_solve_gives(clip, solved, tmp_path, monkeypatch):
    folder, _, truth = clip
    monkeypatch.setattr(schedule, "JOINT", 60)
    monkeypatch.setattr(schedule, "WINDOW", 30)
    monkeypatch.setattr(schedule, "OVERLAP", 12)
    intrinsics = f"{truth.focal},{truth.focal},256,256"
    long = track(folder, tmp_path, intrinsics=intrinsics)
    off = torch.as_tensor(long.R).double() @ torch.as_tensor(solved.R).double().mT
    gap = torch.rad2deg(axis_angle_from_matrix(off).norm(dim=-1))
    seen = ~torch.as_tensor(solved.interpolated)
    assert gap[seen].median() < 0.3
    assert np.median(np.abs(long.eyelids - solved.eyelids)) < 0.02


def test_focal_length_is_said_to_be_unknown_without_motion(clip, tmp_path, caplog):
    _, head, _ = clip
    truth = make_truth(head, 40, seed=4, motion=0.02)
    landmarks, crop = detect(head, truth)
    write_inputs(tmp_path, landmarks, crop)
    head.save(tmp_path / "head.npz")
    with caplog.at_level("INFO", "headsplat"):
        still = track(tmp_path, tmp_path)
    assert "turns too little" in caplog.text
    assert still.K[0, 0] == pytest.approx(1154.8, abs=0.1)
