"""Tracks as sequences: frames, slices, tensors, and lookup in folders."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz, write_npz
from headsplat.track import load_track, read_track, write_track
from tests.unit.driven import arkit_like, make_track

HEAD = arkit_like()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("track") / "track.npz"
    track = make_track(HEAD)
    write_track(path, replace(track, ids=track.ids + 10, neck=np.ones((12, 6), np.float32)))
    return path


@pytest.fixture(scope="module")
def track(file):
    return read_track(file, HEAD)


def test_a_frame_is_its_row(track):
    frame = track[3]
    assert frame.id == 14
    parts = [part[3] for part in (track.exp, track.jaw, track.eyes, track.eyelids)]
    np.testing.assert_array_equal(frame.code.vector, np.concatenate(parts))
    np.testing.assert_array_equal(frame.rotation, track.R[3])
    np.testing.assert_array_equal(frame.translation, track.t[3])
    assert frame.intrinsics.tolist() == [track.K[0, 0], track.K[1, 1], *track.K[:2, 2]]
    assert (frame.height, frame.width) == tuple(track.img_size)


def test_it_ends_and_counts_from_the_end(track):
    assert len(track) == 12
    assert [frame.id for frame in track] == track.ids.tolist()
    assert track[-1].id == track[11].id == 22
    for row in (12, -13):
        with pytest.raises(IndexError):
            track[row]
    with pytest.raises(TypeError):
        track["3"]


def test_the_trunk_is_given_in_the_heads_frame(track, tmp_path):
    assert track.trunk() is None
    assert track[3].trunk is None
    stiff = replace(track, trunk_R=track.R, trunk_t=track.t)
    torch.testing.assert_close(stiff.trunk(), torch.eye(3, 4).expand(12, 3, 4), atol=1e-6, rtol=0)
    turned = replace(stiff, trunk_R=track.R[::-1], trunk_t=track.t[::-1] + np.float32(0.1))
    write_track(tmp_path / "trunk.npz", turned)
    frame = read_track(tmp_path / "trunk.npz", HEAD)[3]
    point = torch.tensor([0.01, -0.2, 0.03])
    in_head = frame.trunk[:, :3] @ point + frame.trunk[:, 3]
    seen = frame.rotation @ in_head + frame.translation
    expected = turned.trunk_R[3] @ point.numpy() + turned.trunk_t[3]
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    with pytest.raises(UserError, match="alone"):
        write_track(tmp_path / "half.npz", replace(turned, trunk_t=None))


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("trunk_R", lambda R: 0 * R, "no rotations"),
        ("trunk_R", lambda R: -R, "no rotations"),
        ("trunk_R", lambda R: R * np.float64(1e300), "no rotations"),
        ("R", lambda R: R * 1.02, "no rotations"),
        ("camera_R", lambda R: R[::-1], "no rotations"),
        ("t", lambda t: t + 2000, "places more than 1000 m away"),
        ("trunk_t", lambda t: t + np.float64(1e300), "places more than 1000 m away"),
    ],
)
def test_poses_that_cannot_be_are_one_line(track, tmp_path, name, change, expected):
    path = tmp_path / "track.npz"
    write_track(path, replace(track, trunk_R=track.R, trunk_t=track.t))
    arrays = read_npz(path)
    write_npz(path, **arrays | {name: change(arrays[name])})
    with pytest.raises(UserError, match=f"'{name}' holds {expected}") as error:
        read_track(path)
    assert "\n" not in str(error.value)


def test_a_part_of_a_track_is_a_track(track, tmp_path):
    some = track[2:8:2]
    assert some.ids.tolist() == [13, 15, 17]
    np.testing.assert_array_equal(some.neck, track.neck[[2, 4, 6]])
    assert torch.equal(some.codes().vector, track.codes().vector[2:8:2])
    write_track(tmp_path / "some.npz", some)
    assert len(read_track(tmp_path / "some.npz")) == 3
    rows = track.rows([22, 11])
    assert track[rows].ids.tolist() == [22, 11]
    assert len(track[:0]) == 0
    with pytest.raises(UserError, match="has no frames"):
        track[:0].rows([1])


def test_tensors_have_the_precision_that_is_asked_for(track):
    R, t = track.poses(torch.float64)
    assert {R.dtype, t.dtype, track.codes(torch.float64).vector.dtype} == {torch.float64}
    frames = track.frames()
    assert {frames.rotation.dtype, frames.code.vector.dtype} == {torch.float32}
    assert torch.equal(R.float(), frames.rotation)


def test_rewritten_track_has_equal_bytes(file, track, tmp_path):
    write_track(tmp_path / "track.npz", track)
    assert (tmp_path / "track.npz").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("place", ["", "model", "avatar/model", "track"])
def test_a_folder_holds_it_in_known_places(file, tmp_path, place):
    folder = tmp_path / "anna" / place
    folder.mkdir(parents=True)
    (folder / "track.npz").write_bytes(file.read_bytes())
    assert load_track(tmp_path / "anna").ids[0] == load_track(folder / "track.npz").ids[0] == 11


def test_a_missing_or_foreign_track_is_one_line(file, tmp_path):
    with pytest.raises(UserError, match=r"holds no track\.npz; give results/<subject>"):
        load_track(tmp_path)
    with pytest.raises(UserError, match=r"none\.npz: is not there"):
        load_track(tmp_path / "none.npz")
    with pytest.raises(UserError, match="was made with head model ict 1, not ict 2"):
        read_track(file, replace(HEAD, version="2"))
    fewer = replace(HEAD, expression_basis=HEAD.expression_basis[..., :2])
    with pytest.raises(UserError, match="7 expression coefficients a frame, head ict has 2"):
        read_track(file, fewer)
