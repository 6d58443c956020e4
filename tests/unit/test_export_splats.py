"""Gaussians for other tools: .spz, glTF, the axes of PLY files, and sequences of them."""

import gzip
import struct
import zipfile

import numpy as np
import pytest
import torch

import export_mesh
import export_ply
import export_sequence
import export_web
from headsplat.avatar_files import load_avatar
from headsplat.export.frames import Played
from headsplat.formats.gaussian_glb import write_gaussian_glb
from headsplat.formats.splats import Splats, harmonic_basis, posed
from headsplat.formats.spz import write_spz
from headsplat.rotations import matrix_from_axis_angle, matrix_from_quaternion
from headsplat.runtime.errors import UserError
from headsplat.track import read_track
from tests.unit.driven import arkit_like, make_subject
from tests.unit.foreign_readers import gltf_issues, to_ply
from tests.unit.glb_file import GlbFile
from tests.unit.live_link import write_table
from tests.unit.test_export_ply import COUNT, avatar, drawn, read_ply, write_inputs

__all__ = ["avatar"]  # the fixture
TURN = torch.diag(torch.tensor([1.0, -1, -1])) @ matrix_from_axis_angle(
    torch.tensor([[0.1, -0.3, 0.05]])
)
AWAY = torch.tensor([[0.01, 0.02, 0.8]])
HALF = torch.diag(torch.tensor([-1.0, -1, 1]))


def columns(cloud, name: str, count: int) -> np.ndarray:
    return np.stack([cloud[f"{name}_{k}"] for k in range(count)], 1)


def as_splats(cloud) -> Splats:
    """A cloud as `read_ply` returns it."""
    rest = columns(cloud, "f_rest", 45).reshape(-1, 3, 15).transpose(0, 2, 1)
    values = (
        np.stack([cloud[k] for k in "xyz"], 1), columns(cloud, "rot", 4),
        np.exp(columns(cloud, "scale", 3)), 1 / (1 + np.exp(-cloud["opacity"])),
        np.concatenate([columns(cloud, "f_dc", 3)[:, None], rest], 1),
    )  # fmt: skip
    return Splats(*(torch.tensor(v) for v in values))


def read_spz(data: bytes) -> Splats:
    """An independent reader: the format's tables, one Gaussian after the other."""
    plain = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else None
    head = plain if plain is not None else data
    magic, version, count, degree, fraction, flags = struct.unpack("<IIIBBB", head[:15])
    assert (magic, flags) == (0x5053474E, 0)
    rest = (degree + 1) ** 2 - 1
    sizes = [9 * count, count, 3 * count, 3 * count, 4 * count, 3 * rest * count]
    if plain is not None:
        assert version == 3
        streams, at = [], 16
        for size in sizes:
            streams.append(plain[at : at + size])
            at += size
        assert at == len(plain)
    else:
        assert version == 4
        streams = stored_streams(data)
        streams += [b""] * (6 - len(streams))
        assert [len(s) for s in streams] == sizes
    whole = [
        int.from_bytes(streams[0][3 * k : 3 * k + 3], "little", signed=True)
        for k in range(3 * count)
    ]
    means = np.array(whole).reshape(count, 3) / 2**fraction
    opacity, color, scale, sh = (np.frombuffer(streams[k], np.uint8) for k in (1, 2, 3, 5))
    harmonics = np.zeros((count, 16, 3))
    harmonics[:, 0] = (color.reshape(count, 3) / 255 - 0.5) / 0.15
    harmonics[:, 1 : 1 + rest] = (sh.reshape(count, rest, 3) - 128.0) / 128
    quats = [unpacked(word) for (word,) in struct.iter_unpack("<I", streams[4])]
    values = (
        means, np.array(quats), np.exp(scale.reshape(count, 3) / 16 - 10), opacity / 255, harmonics,
    )  # fmt: skip
    return Splats(*(torch.tensor(v).float() for v in values))


def unpacked(word: int) -> list[float]:
    """(w, x, y, z) of the smallest three of (x, y, z, w), the last component lowest."""
    largest, q = word >> 30, [0.0] * 4
    for k in reversed([k for k in range(4) if k != largest]):
        size = (word & 511) / 511 / 2**0.5
        q[k] = -size if word & 512 else size
        word >>= 10
    q[largest] = max(0.0, 1 - sum(v * v for v in q)) ** 0.5
    return [q[3], *q[:3]]


def stored_streams(data: bytes) -> list[bytes]:
    """Streams of version 4, by RFC 8878 for blocks that are not compressed."""
    number, toc = struct.unpack("<BI", data[15:20])
    assert data[20:32] == bytes(12)
    streams, at = [], toc + 16 * number
    for k in range(number):
        packed, size = struct.unpack_from("<QQ", data, toc + 16 * k)
        frame, content = data[at : at + packed], b""
        assert frame[:4] == b"\x28\xb5\x2f\xfd"
        assert frame[4] == 0b11100000
        assert struct.unpack("<Q", frame[5:13]) == (size,)
        place, last = 13, 0
        while not last:
            block = int.from_bytes(frame[place : place + 3], "little")
            last, kind, length = block & 1, block >> 1 & 3, block >> 3
            assert kind == 0
            assert length <= 1 << 17
            content += frame[place + 3 : place + 3 + length]
            place += 3 + length
        assert place == len(frame)
        streams.append(content)
        at += packed
    assert at == len(data)
    return streams


def test_ply_for_viewers_is_half_a_turn_of_the_head(tmp_path, avatar):
    flags = write_inputs(tmp_path, avatar)[:-2]
    export_ply.main([*flags, "--pose", "7", "--out", str(tmp_path / "viewer.ply")])
    export_ply.main([*flags, "--pose", "7", "--ply-axes", "head", "--out", str(tmp_path / "h.ply")])
    viewer, head = read_ply(tmp_path / "viewer.ply"), read_ply(tmp_path / "h.ply")
    for axis, sign in zip("xyz", (-1, -1, 1), strict=True):
        np.testing.assert_allclose(viewer[axis], sign * head[axis], atol=1e-6)
    image = drawn(head, TURN, AWAY)
    assert image.std() > 0.05
    assert (drawn(viewer, TURN @ HALF, AWAY) - image).abs().max() < 2e-4


def test_a_moved_cloud_looks_the_same_from_a_moved_camera(tmp_path, avatar):
    write_inputs(tmp_path, avatar)
    loaded = load_avatar(tmp_path / "model", avatar.head, "cpu")
    track = read_track(tmp_path / "track.npz")
    some = track[1:2].frames()
    (splats,) = posed(loaded, some.code.vector, some.rotation, some.translation)
    turn = matrix_from_axis_angle(torch.tensor([[0.5, 1.1, -0.4]]))[0]
    shift = torch.tensor([0.03, -0.2, 0.1])
    moved = splats.moved(turn, shift)
    means = (splats.means @ turn.T) + shift
    torch.testing.assert_close(moved.means, means)
    # Colors of the moved harmonics in moved directions are those of the others.
    rng = np.random.default_rng(0)
    there = rng.normal(size=(5, 3))
    there /= np.linalg.norm(there, axis=1, keepdims=True)
    before = harmonic_basis(there) @ splats.harmonics.numpy()
    after = harmonic_basis(there @ turn.numpy().T) @ moved.harmonics.numpy()
    np.testing.assert_allclose(after, before, atol=2e-5)


def test_short_ply_leaves_the_harmonics_out(tmp_path, avatar):
    flags = write_inputs(tmp_path, avatar)
    export_ply.main([*flags, "--ply-degree", "0", "--out", str(tmp_path / "n.ply")])
    export_ply.main([*flags, "--out", str(tmp_path / "full.ply")])
    header, body = (tmp_path / "n.ply").read_bytes().split(b"end_header\n", 1)
    assert b"f_rest" not in header
    values = np.frombuffer(body, "<f4").reshape(COUNT, 17)
    full = read_ply(tmp_path / "full.ply")
    np.testing.assert_array_equal(values[:, 6], full["f_dc_0"])
    np.testing.assert_array_equal(values[:, 16], full["rot_3"])


@pytest.mark.parametrize("version", [3, 4])
def test_spz_is_read_back(tmp_path, avatar, version):
    flags = write_inputs(tmp_path, avatar)
    path = tmp_path / "n.spz"
    export_ply.main([*flags, "--spz-version", str(version), "--out", str(path)])
    export_ply.main([*flags, "--out", str(tmp_path / "n.ply")])
    exact, read = as_splats(read_ply(tmp_path / "n.ply")), read_spz(path.read_bytes())
    assert (read.means - exact.means).abs().max() < 1e-6
    # A color is clamped to the format's range, and has 8 bits in it.
    want = exact.harmonics[:, 0].clamp(-0.5 / 0.15, 0.5 / 0.15)
    assert (read.harmonics[:, 0] - want).abs().max() < 0.51 / 255 / 0.15
    assert (read.scales.log() - exact.scales.log()).abs().max() < 0.51 / 16
    assert (read.opacities - exact.opacities.clamp(1 / 255, 254 / 255)).abs().max() < 0.51 / 255
    turned = matrix_from_quaternion(read.quats) - matrix_from_quaternion(exact.quats)
    assert turned.abs().max() < 0.01
    band = slice(1, 16)
    assert (read.harmonics[:, band] - exact.harmonics[:, band].clamp(-1, 1)).abs().max() < 0.07
    assert read.degree == exact.degree
    size = len(path.read_bytes())
    assert size < 0.5 * len((tmp_path / "n.ply").read_bytes())


@pytest.mark.parametrize("meters", [1e4, 3e38])
def test_gaussians_far_away_are_refused(tmp_path, meters):
    one = torch.ones(1, 3)
    splats = Splats(one * meters, torch.ones(1, 4) / 2, one, torch.ones(1), torch.zeros(1, 16, 3))
    with pytest.raises(UserError, match="away"):
        write_spz(tmp_path / "far.spz", splats)
    with pytest.raises(UserError, match="away"):
        write_gaussian_glb(tmp_path / "far.glb", splats, "far")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("frame", ["99", "9" * 400])
def test_a_frame_that_the_clip_lacks_is_refused(tmp_path, avatar, frame):
    flags = write_inputs(tmp_path, avatar)[:-2]
    with pytest.raises(UserError, match=r"track\.npz: has no frame 9+(\.\.\.)?; take one of "):
        export_ply.main([*flags, "--pose", frame, "--out", str(tmp_path / "n.ply")])
    assert not (tmp_path / "n.ply").exists()


@pytest.mark.parametrize(
    ("script", "flags"),
    [
        (export_ply, ["--ply-degree=4"]),
        (export_ply, ["--spz-version=2"]),
        (export_sequence, ["--ply-degree=-1"]),
        (export_mesh, ["--texture=100000"]),
        (export_web, ["--name=anna", "--seconds=nan"]),
        (export_web, ["--name=anna", "--seconds=1e308"]),
    ],
)
def test_options_out_of_their_range_are_refused(tmp_path, subject, script, flags):
    out = tmp_path / ("n.ply" if script is export_ply else "out")
    with pytest.raises(UserError, match="must be between"):
        script.main([*files(subject), *flags, f"--out={out}"])
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_suffix_is_refused(tmp_path, avatar):
    with pytest.raises(UserError, match=r"ends in \.ply, \.spz, \.glb"):
        export_ply.main([*write_inputs(tmp_path, avatar), "--out", str(tmp_path / "n.sog")])


def test_gltf_holds_the_same_gaussians(tmp_path, avatar):
    flags = write_inputs(tmp_path, avatar)
    export_ply.main([*flags, "--pose", "7", "--out", str(tmp_path / "7.glb")])
    export_ply.main([*flags, "--pose", "7", "--out", str(tmp_path / "7.ply")])
    exact, file = as_splats(read_ply(tmp_path / "7.ply")), GlbFile(tmp_path / "7.glb")
    assert file.json["extensionsUsed"] == ["KHR_gaussian_splatting"]
    assert file.primitive["mode"] == 0
    extension = file.primitive["extensions"]["KHR_gaussian_splatting"]
    assert extension == {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
    prefix = "KHR_gaussian_splatting:"
    values = file.attributes()
    np.testing.assert_allclose(values["POSITION"], exact.means, atol=1e-6)
    np.testing.assert_allclose(values[prefix + "SCALE"], exact.scales, rtol=1e-5)
    np.testing.assert_allclose(values[prefix + "OPACITY"][:, 0], exact.opacities, atol=2e-6)
    np.testing.assert_allclose(values[prefix + "ROTATION"], exact.quats[:, [1, 2, 3, 0]], atol=1e-5)
    number = 0
    for degree in range(exact.degree + 1):
        for k in range(2 * degree + 1):
            name = f"{prefix}SH_DEGREE_{degree}_COEF_{k}"
            np.testing.assert_allclose(values[name], exact.harmonics[:, number], atol=1e-6)
            number += 1
    assert len(values) == 5 + number
    color = exact.harmonics[:, 0].numpy() * 0.28209479 + 0.5
    assert np.abs(values["COLOR_0"][:, :3] / 255 - color.clip(0, 1)).max() < 0.003


def test_other_readers_take_spz_and_gltf(tmp_path, avatar):
    flags = write_inputs(tmp_path, avatar)
    for name in ("n.spz", "n.glb", "n.ply"):
        export_ply.main([*flags, "--out", str(tmp_path / name)])
    # The validator does not know the extension, and so not its attributes.
    known = ("UNSUPPORTED_EXTENSION", "MESH_PRIMITIVE_INVALID_ATTRIBUTE")
    assert {issue["code"] for issue in gltf_issues(tmp_path / "n.glb")} <= set(known)
    header, body = to_ply(tmp_path / "n.spz", tmp_path / "o.ply").read_bytes().split(
        b"end_header\n", 1
    )  # fmt: skip
    names = [line.split()[-1] for line in header.decode().splitlines() if "property" in line]
    cloud = dict(zip(names, np.frombuffer(body, "<f4").reshape(COUNT, -1).T, strict=True))
    exact = read_ply(tmp_path / "n.ply")
    # Its PLY has y down and looks along z.
    for axis, sign in zip("xyz", (1, -1, -1), strict=True):
        np.testing.assert_allclose(cloud[axis], sign * exact[axis], atol=2e-6)


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subject")
    return make_subject(
        folder / "model", folder / "head.npz", folder / "track.npz", arkit_like()
    )  # fmt: skip


def files(subject) -> list[str]:
    return [f"--model={subject.avatar}", f"--head={subject.head}", f"--track={subject.track}"]


def test_a_sequence_shows_the_clip_from_a_still_camera(tmp_path, subject):
    out = tmp_path / "s.zip"
    export_sequence.main([*files(subject), "--ply-axes=head", f"--out={out}"])
    loaded, track = load_avatar(subject.avatar, device="cpu"), read_track(subject.track)
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == [f"frame{k:04d}.ply" for k in range(1, len(track) + 1)]
        assert archive.testzip() is None
        contents = [archive.read(name) for name in archive.namelist()]
    distance = float(np.median(track.t[:, 2]))
    still = torch.diag(torch.tensor([1.0, -1, -1]))[None]
    away = torch.tensor([[0.0, 0, distance]])
    for row in (0, 5, len(track) - 1):
        (tmp_path / "one.ply").write_bytes(contents[row])
        cloud = as_splats(cloud_of(contents[row]))
        some = track[row : row + 1].frames()
        (own,) = posed(loaded, some.code.vector, some.rotation, some.translation)
        # To the camera by either way.
        world = cloud.means @ still[0].T + away
        camera = own.means @ some.rotation[0].T + some.translation
        torch.testing.assert_close(world, camera, atol=1e-6, rtol=0)
    again = tmp_path / "again.zip"
    export_sequence.main([*files(subject), "--ply-axes=head", f"--out={again}"])
    assert again.read_bytes() == out.read_bytes()


def cloud_of(content: bytes):
    header, body = content.split(b"end_header\n", 1)
    names = [line.split()[-1] for line in header.decode().splitlines() if "property" in line]
    values = np.frombuffer(body, "<f4").reshape(-1, len(names))
    return dict(zip(names, values.T, strict=True))


def test_a_sequence_of_a_motion_has_its_length(tmp_path, subject):
    rows = [{"MouthSmileLeft": k / 70} for k in range(70)]
    table = write_table(tmp_path / "take.csv", rows)
    out = tmp_path / "take.zip"
    export_sequence.main([
        *files(subject), f"--motion={table}", "--kind=arkit", "--ply-degree=0", f"--out={out}"
    ])  # fmt: skip
    with zipfile.ZipFile(out) as archive:
        assert len(archive.namelist()) == int(69 / 60 * 25) + 1
        assert b"f_rest" not in archive.read("frame0001.ply")
        first, last = archive.read("frame0001.ply"), archive.read("frame0029.ply")
    moved = np.stack([cloud_of(last)[k] - cloud_of(first)[k] for k in "xyz"])
    assert np.abs(moved).max() > 1e-3
    with pytest.raises(UserError, match="give --kind"):
        export_sequence.main([*files(subject), f"--motion={table}", f"--out={out}"])


def test_world_and_camera_agree(subject):
    track = read_track(subject.track)
    frames = track.frames()
    played = Played(load_avatar(subject.avatar, device="cpu"), track, frames, np.arange(12.0))
    turn, place = played.world()
    np.testing.assert_allclose(turn, track.head_R, atol=1e-6)
    np.testing.assert_allclose(place, track.head_t, atol=1e-6)
