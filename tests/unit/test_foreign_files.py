"""Readers of untrusted files: claimed sizes are checked before memory or time is spent."""

import bz2
import gzip
import io
import json
import lzma
import os
import resource
import signal
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headsplat_workflow.assets.verify import signature_problem

from headsplat.formats.flashavatar.checkpoint import read_checkpoint
from headsplat.formats.frame import read_frame
from headsplat.formats.importing.arrays import read_arrays
from headsplat.formats.importing.clip import ImageSource
from headsplat.formats.importing.images import read_image, read_matte
from headsplat.frames.images import MOST_PIXELS, decode_image, encode_png, read_image_file
from headsplat.heads.ict.source import read_source
from headsplat.heads.unpickle import load_pickle
from headsplat.heads.wavefront import read_textured_mesh
from headsplat.networks.checkpoints import read_state
from headsplat.networks.mica import load_mica
from headsplat.networks.onnx_session import open_session
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_json, read_npz, write_npz
from headsplat.runtime.npz import Npz
from headsplat.runtime.tars import tar_members
from headsplat.tracking.run import read_identity
from headsplat.train.lpips import BACKBONE_FILE, LINEAR_FILE, load_lpips
from headsplat.video.sound import read_sound
from tests.unit import ict_head
from tests.unit.pickle_samples import make_samples

ROOM = 1 << 30  # bytes that a test may allocate


@pytest.fixture(autouse=True)
def bounded():
    """Limit the time and memory of each test."""

    def stuck(*_):
        raise AssertionError("it waits")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before, handler = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGALRM, stuck)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, before[1]))
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)
    resource.setrlimit(resource.RLIMIT_AS, before)


DOORS = {
    "pickle": load_pickle,
    "frame": read_frame,
    "weights": read_state,
    "mica": load_mica,
    "checkpoint": read_checkpoint,
    "npz": read_npz,
    "arrays": lambda path: read_arrays(path, {"a": "n"}),
    "npy": lambda path: read_identity(path, 3),
    "json": read_json,
    "mesh": read_textured_mesh,
    "image": read_image_file,
    "image source": lambda path: read_image(ImageSource(path), (4, 4)),
    "image in arrays": lambda path: read_matte(ImageSource(path, "img"), (4, 4)),
    "ict": read_source,
    "onnx": open_session,
    "sound": lambda path: read_sound(path, 60.0),
}


def outcome(door: str, path: Path) -> str:
    """The message of the `UserError` that reading a file raises, or None."""
    try:
        DOORS[door](path)
    except UserError as error:
        return str(error)
    return ""


def whole_files(folder: Path) -> list[Path]:
    """One valid file of every format."""
    make_samples(folder)
    write_npz(folder / "a.npz", a=np.arange(3.0), img=np.zeros((4, 4), np.uint8))
    np.savez_compressed(folder / "packed.npz", a=np.zeros(1000))
    np.save(folder / "a.npy", np.arange(3.0))
    (folder / "a.json").write_text(json.dumps({"a": [1, 2, {"b": None}]}))
    (folder / "a.obj").write_text("v 0 0 0\nvt 0 0\nf 1/1 1/1 1/1\n")
    (folder / "a.png").write_bytes(encode_png(np.zeros((4, 4, 3), np.uint8)))
    Image.new("RGB", (40, 40)).save(folder / "a.jpg")
    with tarfile.open(folder / "a.tar.xz", "w:xz") as archive:
        archive.add(folder / "a.json", "x/FaceXModel/vertex_indices.json")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("door", DOORS)
def test_missing_special_and_truncated_files_end_in_one_line(tmp_path, door):
    cases = {name: tmp_path / name for name in ("pipe", "folder", "empty", "noise", "none")}
    os.mkfifo(cases["pipe"])
    cases["folder"].mkdir()
    cases["empty"].write_bytes(b"")
    cases["noise"].write_bytes(np.random.default_rng(0).bytes(5000))
    cases["device"] = Path("/dev/zero")
    cases["page"] = tmp_path / "page"
    cases["page"].write_text("<!DOCTYPE html><html>\x1b[31m sign in</html>")
    for path in cases.values():
        with pytest.raises(UserError) as caught:
            DOORS[door](path)
        message = str(caught.value)
        assert message.startswith(str(path))
        assert message.isprintable()


@pytest.mark.parametrize("door", DOORS)
def test_other_kinds_and_cut_files_give_values_or_one_line(tmp_path, door):
    samples = tmp_path / "samples"
    samples.mkdir()
    for whole in whole_files(samples):
        data = whole.read_bytes()
        for length in (len(data), len(data) - 1, len(data) // 2, 10):
            path = tmp_path / f"case{whole.suffix}"
            path.write_bytes(data[:length])
            assert outcome(door, path).isprintable()


def test_pipe_among_the_assets_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    assert "not a regular file" in signature_problem(tmp_path / "a.npz")


def test_lpips_weights_of_other_kinds(tmp_path):
    os.mkfifo(tmp_path / BACKBONE_FILE)
    (tmp_path / LINEAR_FILE).write_bytes(b"x")
    assert load_lpips(tmp_path, torch.device("cpu")) is None, "a pipe counts as no file"
    os.remove(tmp_path / BACKBONE_FILE)
    (tmp_path / BACKBONE_FILE).write_bytes(b"x" * 100)
    with pytest.raises(UserError, match=BACKBONE_FILE):
        load_lpips(tmp_path, torch.device("cpu"))


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def header(shape: str, descr: str = "'<f8'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


BAD_ARRAYS = {
    "claims 8 TB": npy(header("(1000000000000,)"), b"12345678"),
    "claims a product": npy(header("(1000000, 1000000, 1000000)")),
    "overflows": npy(header("(4294967296, 4294967296, 2)")),
    "is negative": npy(header("(-1,)")),
    "has a name for a size": npy(header("('a',)")),
    "has a list for a shape": npy(header("[1]"), b"12345678"),
    "has a boolean for a size": npy(header("(True,)"), b"12345678"),
    "of objects": npy(header("(1,)", "'|O'"), b"12345678"),
    "of raw memory": npy(header("(1,)", "'|V8'"), b"12345678"),
    "of fields": npy(header("(1,)", "[('a', '<f8')]"), b"12345678"),
    "of nothing": npy(header("(5,)", "'<U0'")),
    "of no characters": npy(header("(1,)", "'<U1'"), b"\xff\xff\xff\x7f"),
    "of dates": npy(header("(1,)", "'<M8[ns]'"), b"12345678"),
    "is nested": npy("(" * 9000),
    "is nested lists": npy(header("[" * 4000 + "]" * 4000)),
    "is no text": npy("\x00\xff{"),
    "has too much": npy(header("(1,)"), b"123456789"),
    "of a new version": b"\x93NUMPY\x09\x00\x02\x00{}",
}


@pytest.mark.parametrize("kind", BAD_ARRAYS)
def test_array_headers_are_compared_with_the_file_size(tmp_path, kind):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", BAD_ARRAYS[kind])
    for door in (read_npz, DOORS["arrays"]):
        with pytest.raises(UserError, match="cannot be read"):
            door(path)
    (tmp_path / "a.npy").write_bytes(BAD_ARRAYS[kind])
    with pytest.raises(UserError, match="cannot be read"):
        read_identity(tmp_path / "a.npy", 1)


def test_arrays_are_those_of_numpy(tmp_path):
    arrays = {
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "none": np.zeros((0, 3)),
        "one": np.float32(3), "text": np.array(["a", "\u20acx"]), "raw": np.array([b"a"]),
        "ground_truth": np.array([True, False]), "big": np.arange(3, dtype=">i4"),
        "large": np.arange(500_000),
    }  # fmt: skip
    np.savez(tmp_path / "a.npz", **arrays)
    np.savez_compressed(tmp_path / "b.npz", **arrays)
    for name in ("a.npz", "b.npz"):
        for key, found in read_npz(tmp_path / name).items():
            expected = np.asarray(arrays[key])
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype
            assert found.flags.f_contiguous == expected.flags.f_contiguous
            assert found.flags.writeable


def edited(data: bytes, offset: int, value: bytes) -> bytes:
    """A zip of one member with a field changed in both headers."""
    central = data.rindex(b"PK\x01\x02")
    out = bytearray(data)
    out[offset : offset + len(value)] = value
    out[central + offset + 2 : central + offset + 2 + len(value)] = value
    return bytes(out)


def packed(data: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("a.npy", data)
    return buffer.getvalue()


def test_damaged_and_unusual_zips_end_in_one_line(tmp_path):
    good = npy(header("(1000,)"), bytes(8000))
    zips = {
        "encrypted": edited(packed(good), 6, b"\x01\x00"),
        "method": edited(packed(good), 8, struct.pack("<H", 99)),
        "size": edited(packed(good, zipfile.ZIP_STORED), 22, struct.pack("<I", 1 << 31)),
        "checksum": edited(packed(good), 14, b"abcd"),
    }
    stream = bytearray(packed(good))
    stream[45:60] = b"\xff" * 15
    zips["stream"] = bytes(stream)
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        zips[str(method)] = packed(good, method)[:50] + b"\xff" * 20 + packed(good, method)[70:]
    for name, data in zips.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(data)
        for door in (read_npz, DOORS["arrays"], load_pickle, read_frame, read_state, read_source):
            with pytest.raises(UserError) as caught:
                door(path)
            assert str(caught.value).isprintable()


def test_zip_bombs_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w", force_zip64=True) as member,
    ):
        member.write(npy(header("(16777216,)")))
        for _ in range(128):
            member.write(bytes(1 << 20))
    with pytest.raises(UserError, match="claims"):
        read_npz(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"{number}.npy", npy(header("(5000000,)"), bytes(40_000_000)))
    with pytest.raises(UserError, match="claims"):
        read_npz(path)
    with Npz(path) as archive:
        assert archive.read("1").size == 5_000_000


def test_path_traversal_in_member_names_is_harmless(tmp_path):
    path = tmp_path / "in" / "a.npz"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../out.npy", npy(header("(1,)"), bytes(8)))
    assert list(read_npz(path)) == ["../../out"]
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "1" * 100_000, "\ud800x", "{'a': 1}", '"\x00"']
)
def test_invalid_json(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError, match="cannot be read as JSON") as caught:
        read_json(path)
    assert str(caught.value).isprintable()


def png(width: int, height: int) -> bytes:
    """A PNG that claims a size, with the data of one row."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1 + 3 * min(width, 1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(20_000, 20_000), (13_000, 13_000), (2**31 - 1, 2**31 - 1)])
def test_images_of_too_many_pixels(tmp_path, size):
    path = tmp_path / "a.png"
    path.write_bytes(png(*size))
    with pytest.raises(UserError, match=r"a\.png: (is .* pixels, more than 40 million|cannot be)"):
        read_image_file(path)
    with pytest.raises(UserError):
        decode_image(path.read_bytes())
    with pytest.raises(UserError):
        read_image(ImageSource(path), (4, 4))


def test_an_image_of_8k_video_is_read(tmp_path):
    assert MOST_PIXELS >= 7680 * 4320
    path = tmp_path / "a.png"
    Image.new("L", (7680, 4320)).save(path)
    assert read_image_file(path).shape == (4320, 7680)


def test_an_image_of_another_size_is_not_decoded(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(6000, 6000))
    with pytest.raises(UserError, match="is 6000 x 6000 pixels, the track is of 4 x 4"):
        read_image(ImageSource(path), (4, 4))


def test_image_formats_that_start_programs_are_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    with pytest.raises(UserError, match="cannot be read as an image"):
        read_image_file(path)


def tar_of(*entries: tuple[tarfile.TarInfo, bytes], style: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=style) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def entry(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE) -> tuple:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    return info, data


@pytest.mark.parametrize("style", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_tars_give_their_regular_files(pack, style):
    long = "/".join(["a" * 90] * 3) + "/\u00e4.obj"
    data = tar_of(
        entry("x/one", b"1" * 700), entry("x/link", kind=tarfile.SYMTYPE), entry(long, b"23"),
        entry("x/hard", kind=tarfile.LNKTYPE), entry("x/pipe", kind=tarfile.FIFOTYPE),
        entry("x/device", kind=tarfile.CHRTYPE), entry("x", kind=tarfile.DIRTYPE),
        entry("last", b"4" * 512), style=style,
    )  # fmt: skip
    found = [(str(m.name), m.read()) for m in tar_members(io.BytesIO(pack(data)))]
    assert found == [("x/one", b"1" * 700), (long, b"23"), ("last", b"4" * 512)]
    names = [str(m.name) for m in tar_members(io.BytesIO(pack(data)))]
    assert names == ["x/one", long, "last"], "also without reading"


def claimed(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("x/FaceXModel/a.obj")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_tars_with_excessive_sizes(tmp_path, kind):
    path = tmp_path / "a.tar.xz"
    path.write_bytes(lzma.compress(claimed(kind, 1 << 40) + bytes(2 << 20)))
    with pytest.raises(UserError, match=r"a\.tar\.xz: cannot be read to its end"):
        read_source(path)


def test_xz_with_excessive_memory_demand(tmp_path):
    data = bytearray(lzma.compress(bytes(2000)))
    # The block's header: size, flags, filter, its size, and the dictionary's: 1.5 GiB.
    start, end = 12, 12 + data[12] * 4
    assert data[start + 2] == 0x21
    data[start + 4] = 37
    data[end : end + 4] = struct.pack("<I", zlib.crc32(data[start:end]))
    path = tmp_path / "a.tar.xz"
    path.write_bytes(data)
    with pytest.raises(UserError, match="Memory usage limit"):
        read_source(path)


@pytest.mark.parametrize(
    "text",
    ["[1]", "3", '{"idx_to_landmark_verts": 5}', '{"idx_to_landmark_verts": {"0": 1}}',
     '{"idx_to_landmark_verts": [true]}', "[" * 50_000, "null",
     '{"idx_to_landmark_verts": [1e400]}',
     '{"idx_to_landmark_verts": [' + ", ".join(["99999999999999999999"] * 68) + "]}"],
)  # fmt: skip
def test_ict_indices_of_another_form(tmp_path, monkeypatch, text):
    ict_head.shrink(monkeypatch)
    folder = tmp_path / "ICT"
    ict_head.write_tiny(folder)
    (folder / "FaceXModel/vertex_indices.json").write_text(text)
    with pytest.raises(UserError, match=r"vertex_indices\.json cannot be read"):
        read_source(folder)


@pytest.mark.parametrize(
    "line", ["f 1/1 2/2 99999999999/1 4/4", "f 0/1 2/2 3/3 4/4", "f -1/1 2/2 3/3", "v 1e999 0 0"]
)
def test_meshes_with_impossible_numbers(tmp_path, monkeypatch, line):
    ict_head.shrink(monkeypatch)
    folder = tmp_path / "ICT"
    ict_head.write_tiny(folder, faces=f"{line}\nf 3/3 2/2 5/1\n")
    with pytest.raises(UserError):
        read_source(folder)
    path = tmp_path / "a.obj"
    path.write_text(f"v 0 0 0\nvt 0 0\n{line}\n")
    with pytest.raises(UserError):
        read_textured_mesh(path)


def test_gray_values_of_sixteen_bits_are_scaled(tmp_path):
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "a.png")
    found = decode_image((tmp_path / "a.png").read_bytes())
    assert found.shape == (8, 8, 3)
    assert (found == (values // 257)[..., None]).all()
    assert (read_matte(ImageSource(tmp_path / "a.png"), (8, 8)) == values // 257).all()
