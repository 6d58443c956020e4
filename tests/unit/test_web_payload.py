"""The avatar's file for browsers: what is written and read, and files that nobody wrote."""

import json
import struct
import zlib

import numpy as np
import pytest
import torch

from headsplat.runtime.errors import UserError
from headsplat.web.container import read_payload, write_payload
from headsplat.web.options import FP16, INT8
from headsplat.web.payload import avatar_payload
from tests.browser import Browser, needs_chromium
from tests.unit.web_avatar import web_avatar, web_head, web_track
from tests.unit.web_drawing import drawing_page, text_of

ARRAYS = {
    name: (np.arange(60) - 7).reshape(3, 4, 5).astype(name)
    for name in ("<f4", "<f2", "i1", "u1", "<i2", "<u2", "<u4")
}
HEAD = web_head()
TRACK = web_track(HEAD)


def packed(table: object, content: bytes = b"", **head: int) -> bytes:
    """A deflated file with any JSON."""
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    start = struct.pack("<4sII", b"HSWB", head.get("version", 1), head.get("length", len(text)))
    deflate = zlib.compressobj(9, wbits=-15)
    return deflate.compress(start + text + content) + deflate.flush()


def entry(shape: object = (2,), offset: object = 0, dtype: object = "f4") -> dict:
    """JSON with one array."""
    return {"counts": {}, "arrays": {"a": {"offset": offset, "shape": shape, "dtype": dtype}}}


HOSTILE = {
    "empty": b"",
    "not deflated": b"HSWB" * 100,
    "cut": packed(entry(), bytes(8))[:-6],
    "of another kind": zlib.compress(b"PK34" + bytes(100))[2:-4],
    "of another version": packed(entry(), bytes(8), version=2),
    "JSON longer than the file": packed(entry(), bytes(8), length=2**31),
    "no JSON": packed(b"{" * 1000),
    "deep JSON": packed(b"[" * 100_000),
    "a list": packed([]),
    "an array outside of the file": packed(entry(shape=[3]), bytes(8)),
    "a huge array": packed(entry(shape=[2**28, 2**28, 2**28]), bytes(8)),
    "a negative size": packed(entry(shape=[-1, -2]), bytes(8)),
    "a fraction as size": packed(entry(shape=[1.5]), bytes(8)),
    "an offset before the file": packed(entry(offset=-4), bytes(8)),
    "an unknown type": packed(entry(dtype="constructor"), bytes(8)),
    "a type that is a list": packed(entry(dtype=["f4"]), bytes(8)),
}


def test_arrays_are_read_as_they_were_written():
    meta, arrays = read_payload(write_payload({"name": "anna"}, ARRAYS))
    assert meta == {"name": "anna"}
    assert arrays.keys() == ARRAYS.keys()
    for name, value in ARRAYS.items():
        assert arrays[name].dtype == value.dtype
        np.testing.assert_array_equal(arrays[name], value)


@pytest.mark.parametrize("what", HOSTILE)
def test_damaged_files_are_one_line(what):
    with pytest.raises(UserError, match="damaged"):
        read_payload(HOSTILE[what])


def test_the_page_writes_what_it_cannot_hold_in_one_line(monkeypatch):
    monkeypatch.setattr("headsplat.web.container.MOST_BYTES", 1000)
    with pytest.raises(UserError, match="train fewer Gaussians"):
        write_payload({}, {"a": np.zeros(1000, np.float32)})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("precision", [INT8, FP16])
def test_numbers_beyond_half_floats_are_one_line(precision):
    avatar = web_avatar("blendshapes", HEAD)
    with torch.no_grad():
        avatar.deformation.weights[0, 0] = 3e38
    with pytest.raises(UserError, match="anna: 'gaussians/base' has numbers beyond half floats"):
        avatar_payload("anna", avatar, TRACK, precision)


@needs_chromium
def test_the_page_refuses_files_that_nobody_wrote(tmp_path):
    meta, arrays = avatar_payload("anna", web_avatar("blendshapes", HEAD), TRACK)
    good = write_payload(meta, arrays)
    inner = {
        "sizes that are lies": ({**meta, "counts": meta["counts"] | {"gaussians": 2**40}}, arrays),
        "no sizes": ({**meta, "counts": {}}, arrays),
        "sizes that do not fit": ({**meta, "counts": meta["counts"] | {"torso": 7}}, arrays),
        "a model of nobody": ({**meta, "model": "<img src=x>"}, arrays),
        "a pose of text": ({**meta, "base": {"R": ["1"] * 9, "t": [0, 0, 0]}}, arrays),
        "harmonics of nobody": ({**meta, "harmonics_degree": 1e9}, arrays),
        "no motions": ({**meta, "motions": None}, arrays),
        "a number of motions": ({**meta, "motions": -1}, arrays),
        "motions of nothing": ({**meta, "motions": [None]}, arrays),
        "no base": (meta, {k: v for k, v in arrays.items() if k != "gaussians/base"}),
        "vertices that are not there": (
            meta, arrays | {"anchors/corners": arrays["anchors/corners"] + np.uint16(60000)},
        ),
    }  # fmt: skip
    hostile = HOSTILE | {what: write_payload(*parts) for what, parts in inner.items()}
    with Browser() as browser:
        page = drawing_page(browser, tmp_path)
        assert page.run(f"refusal({text_of(good)})") == ""
        found = {what: page.run(f"refusal({text_of(file)})") for what, file in hostile.items()}
        found["more than it may hold"] = page.run(f"refusal({text_of(good)}, 100_000)")
        # A million zeros deflate to a thousand bytes.
        bomb = packed(entry(), bytes(1 << 27))
        found["a bomb"] = page.run(f"refusal({text_of(bomb)}, {1 << 24})")
    for what, message in found.items():
        assert message.startswith("the avatar"), (what, message)
        assert "\n" not in message
