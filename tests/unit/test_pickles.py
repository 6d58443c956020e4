"""Pickles are read as data: the right values, no calls, and no more than the file is worth."""

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from headsplat.formats.flashavatar.checkpoint import read_checkpoint
from headsplat.formats.frame import read_frame
from headsplat.heads.unpickle import dense, load_pickle
from headsplat.networks.checkpoints import read_state
from headsplat.networks.torch_archive import TorchArchive
from headsplat.runtime.errors import UserError
from headsplat.runtime.pickles.machine import MOST_STEPS
from tests.conftest import PYTHON_PATH
from tests.unit.pickle_fuzz import older_file

COMMAND = "touch ran-by-a-pickle"


def read(tmp_path: Path, data: bytes):
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    return load_pickle(path)


def zipped(path: Path, data: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", data)
        archive.writestr("a/version", b"3\n")
    return path


VALUES = [
    {"a": [1, -2, 2**40, -(2**70), True, None, 0.5, float("inf")], "b": {1, "x"}, 3: (1, (2,))},
    {"text": "Kopf \u00e4\u20ac", "raw": bytes(range(256)), "empty": b"", "none": ()},
    OrderedDict([("z", 1), ("a", [OrderedDict()])]),
    [np.arange(6, dtype=kind).reshape(2, 3) for kind in ("u1", "<i4", ">i8", "f2", ">f4", "f8")],
    [
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.zeros((0, 3)),
        np.array(7),
        np.bool_(True),
    ],
    [np.array(["ab", "\u20ac"]), np.array([b"ab", b"c"]), np.float32(1.5), np.int64(-3)],
]


@pytest.mark.parametrize("value", VALUES)
def test_values_are_those_of_pickle_itself(tmp_path, value):
    for protocol in range(5):
        found = read(tmp_path, pickle.dumps(value, protocol))
        assert repr(found) == repr(value)
        assert type(found) is type(value)
        for ours, theirs in zip(found, value, strict=True):
            if isinstance(theirs, np.ndarray):
                assert ours.dtype == theirs.dtype
                assert ours.flags.writeable
                assert ours.flags.f_contiguous == theirs.flags.f_contiguous


def test_one_array_named_twice_is_one(tmp_path):
    array = np.arange(4)
    first, second = read(tmp_path, pickle.dumps([array, array], 2))
    assert first is second


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


ND, DT = b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"
BLANK = b"cnumpy.core.multiarray\n_reconstruct\n(" + ND + b"(K\x00tC\x01btR"


def dtype(code: str) -> bytes:
    return DT + b"(" + text(code) + b"\x89\x88tR"


def state(shape: bytes, kind: bytes, data: bytes) -> bytes:
    return b"(K\x01" + shape + kind + b"\x89" + data + b"t"


SHELL = b"cos\nsystem\n(" + text(COMMAND) + b"tR"
ATTACKS = {
    "a call": SHELL + b".",
    "a call by text": b"cbuiltins\neval\n(" + text(f"import os; os.system('{COMMAND}')") + b"tR.",
    "a call within a dictionary": b"}" + text("v") + SHELL + b"s.",
    "a class of Python": b"(ios\nsystem\n.",
    "an object of a class of Python": b"cbuiltins\nobject\n)\x81.",
    "pointers by the constructor": ND + b"((K\x02t" + text("O") + b"C\x10" + b"A" * 16 + b"tR.",
    "pointers by a dtype": ND + b"((K\x02t" + dtype("O8") + b"C\x10" + b"A" * 16 + b"tR.",
    "pointers by a state": BLANK + state(b"(K\x02t", dtype("O8"), b"C\x10" + b"A" * 16) + b"b.",
    "a pointer in a scalar": b"cnumpy.core.multiarray\nscalar\n(" + dtype("O8") + b"C\x08"
    + b"A" * 8 + b"tR.",
    "an array of objects": BLANK + state(b"(K\x02t", dtype("O8"), b"(K\x01K\x02l") + b"b.",
    "raw memory": BLANK + state(b"(K\x01t", dtype("V64"), b"C\x40" + b"A" * 64) + b"b.",
    "fields": dtype("f8") + b"(K\x03" + text("<") + b"N" + b"(" + text("a") + b"t}NNNt"  + b"b.",
    "an array's second state": BLANK + state(b"(K\x01t", dtype("u1"), b"C\x01A") + b"b"
    + state(b"(K\x08t", dtype("u1"), b"C\x01A") + b"b.",
    "an item of an array": BLANK + state(b"(K\x01t", dtype("u1"), b"C\x01A") + b"bK\x00K\x07s.",
    "an attribute of a name": ND + b"}" + text("call") + SHELL + b"sb.",
    "a state of a list": b"]}b.",
    "an extension": b"\x82\x01.",
    "a buffer": b"\x97.",
    "another file": b"Pabc\n.",
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused_at_every_door(tmp_path, monkeypatch, attack):
    monkeypatch.chdir(tmp_path)
    body = b"\x80\x04" + ATTACKS[attack]
    Path("a.pkl").write_bytes(body)
    Path("a.npy").write_bytes(b"\x93NUMPY\x01\x00\x02\x00 \n" + body)
    Path("older.pth").write_bytes(older_file(body))
    archive = zipped(Path("a.zip"), body)
    doors = [
        (load_pickle, "a.pkl"), (load_pickle, "a.npy"), (read_frame, archive),
        (read_state, archive), (read_state, "older.pth"), (read_checkpoint, archive),
        (read_checkpoint, "older.pth"),
    ]  # fmt: skip
    for door, path in doors:
        with pytest.raises(UserError) as caught:
            door(path)
        assert "\n" not in str(caught.value)
    # Objects of unknown classes are no fault here; nothing is kept of them.
    with suppress(UserError):
        TorchArchive("a.zip").close()
    assert not Path("ran-by-a-pickle").exists()


def test_a_storage_within_bytes_is_read_by_the_same_rules(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blob = older_file(b"\x80\x02" + SHELL + b".")
    code = b"ctorch.storage\n_load_from_bytes\n(B" + struct.pack("<I", len(blob)) + blob + b"tR."
    with pytest.raises(UserError, match="system"):
        read(tmp_path, code)
    assert not Path("ran-by-a-pickle").exists()


def laughs(depth: int, first: bytes, gather: bytes) -> bytes:
    """Each part names the one before ten times."""
    body = first + b"r" + struct.pack("<I", 0)
    for level in range(depth):
        get = b"j" + struct.pack("<I", level)
        body += b"(" + get * 10 + gather + b"r" + struct.pack("<I", level + 1)
    return body


def csc(height: int, width: int, starts: list[int]) -> bytes:
    fields = {"_shape": (height, width), "data": np.ones(1), "indices": np.zeros(1, np.int32),
              "indptr": np.array(starts)}  # fmt: skip
    return b"\x80\x02cscipy.sparse.csc\ncsc_matrix\n)\x81" + pickle.dumps(fields, 2)[2:-1] + b"b."


def pairs_of_one_hash(count: int) -> Iterator[bytes]:
    """Keys and values of a dictionary whose keys Python's hash of tuples cannot tell apart."""
    one, two, five = 11400714785074694791, 14029467366897019727, 2870177450012600261
    most, back = 1 << 64, pow(two, -1, 1 << 64)
    first = 0
    while count:
        first += 1
        lane = (five + first * two) % most
        lane = (lane << 31 | lane >> 33) * one % most
        second = (12345 - lane) * back % most
        second -= most if second >> 63 else 0
        if abs(second) < 1 << 59:
            count -= 1
            yield (
                b"J" + struct.pack("<i", first) + b"\x8a\x08" + struct.pack("<q", second) + b"\x86N"
            )


SMALL_BOMBS = {
    "tuples in tuples": b"K\x01" + b"\x85" * 100_000 + b".",
    "lists in lists": b"]" * 100_000 + b"a" * 99_999 + b".",
    "lists of lists": laughs(60, b"]", b"l") + b".",
    "a key of tuples": b"}" + laughs(60, b"K\x01", b"t") + b"K\x01s.",
    "strings of strings": laughs(9, text("x" * 1000), b"l") + b".",
    "itself": b"]q\x00h\x00a.",
    "a number of many bytes": b"\x8b" + struct.pack("<I", 1 << 20) + b"\x7f" * (1 << 20) + b".",
    "a number of many digits": b"I" + b"7" * 100_000 + b"\n.",
    "a string that is not there": b"\x8e" + struct.pack("<Q", 1 << 60) + b"abc.",
    "a shape without bytes": BLANK + state(b"(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft", dtype("f8"),
                                           b"C\x00") + b"b.",
    "a shape of no width": BLANK + state(b"(J\xff\xff\xff\x7fK\x00J\xff\xff\xff\x7ft", dtype("f8"),
                                         b"C\x00") + b"bK\x00.",
    "a long string": dtype("S99999999999") + b".",
    "a list as key": b"}]K\x01s.",
    "an array as key": b"}" + BLANK + b"K\x01s.",
    "a set of lists": b"cbuiltins\nset\n(((ltltR.",
    "very many steps": b"(" + b"N" * (MOST_STEPS + 1) + b"t.",
    "very many sets": b"(" + b"\x8f" * (MOST_STEPS + 1) + b"t.",
    "one array again and again": b"B" + struct.pack("<I", 65535) + b"A" * 65535 + b"q\x00"
    + dtype("u1") + b"q\x01" + (BLANK + state(b"(M\xff\xfft", b"h\x01", b"h\x00") + b"b") * 1000
    + b".",
    "one set again and again": b"(" + b"".join(b"M" + struct.pack("<H", n) for n in range(60_000))
    + b"lq\x00cbuiltins\nset\nq\x01" + b"h\x01h\x00\x85R" * 50_000 + b".",
    "a long key again and again": b"(" + b"K\x01" * 200_000 + b"tq\x00}" + b"h\x00Ns" * 200_000
    + b".",
    "a long string as kind": text("f" * 200_000) + b"q\x00" + DT + b"q\x01"
    + b"h\x01h\x00\x85R" * 1000 + b".",
    "numbers of one hash": b"}(" + b"".join(
        b"\x8a\x10" + (n * (2**61 - 1)).to_bytes(16, "little") + b"N" for n in range(1, 100_000)
    ) + b"u.",
    "one key in a long set again and again": b"(" + b"N" * 300_000
    + b"l\x85q\x01cbuiltins\nset\nq\x00" + b"h\x00h\x01R0" * 100_000 + b".",
    "one key in long pairs again and again": b"NN\x86q\x020(" + b"h\x02" * 300_000
    + b"l\x85q\x01ccollections\nOrderedDict\nq\x00" + b"h\x00h\x01R0" * 100_000 + b".",
    "places of one hash": b"N" + b"".join(
        b"p%d\n" % (n * (2**61 - 1)) for n in range(1, 100_000)
    ) + b".",
    "tuples of one hash": b"}(" + b"".join(pairs_of_one_hash(40_000)) + b"u.",
    "a half character": b"X\x01\x00\x00\x00\xc3.",
}  # fmt: skip


@pytest.mark.parametrize("before", [b"", pickle.dumps(0x1950A86A20F9469CFC6C, 2)])
def test_an_array_where_torch_writes_a_number(tmp_path, before):
    (tmp_path / "a.pth").write_bytes(before + pickle.dumps(np.arange(5), 2) * 5)
    with pytest.raises(UserError, match=r"a\.pth: not a"):
        read_state(tmp_path / "a.pth")


@pytest.mark.parametrize("bomb", SMALL_BOMBS)
def test_bombs_end_in_one_short_line(tmp_path, bomb):
    with pytest.raises(UserError, match=r"a\.pkl: not a whole pickle") as caught:
        read(tmp_path, SMALL_BOMBS[bomb])
    assert len(str(caught.value)) < len(str(tmp_path)) + 200


def test_a_large_part_of_many_is_weighed_once(tmp_path):
    table = b"}(" + b"".join(b"J" + struct.pack("<i", n) + b"N" for n in range(100_000)) + b"u"
    with pytest.raises(UserError, match="many times the file"):
        read(tmp_path, b"(" + table + b"q\x00" + b"h\x00" * 200_000 + b"t.")


def test_a_far_place_in_the_memory_takes_no_room(tmp_path):
    far = struct.pack("<I", 0xFFFFFFF0)
    assert read(tmp_path, b"K\x05r" + far + b"0j" + far + b".") == 5


@pytest.mark.parametrize(
    ("height", "width", "starts"),
    [
        (10**9, 10**9, [0, 1]),
        (2, 2, [0, 10**9, 1]),
        (2, 2, [0, 1]),
        (2, 1, [0, 5]),
        (-1, 1, [0, 1]),
    ],
)
def test_sparse_matrices_that_claim_more_than_they_have(tmp_path, height, width, starts):
    matrix = read(tmp_path, csc(height, width, starts))
    with pytest.raises(ValueError, match="csc matrix"):
        dense(matrix)


def test_chumpy_nodes_within_themselves(tmp_path):
    node = b"cchumpy.ch\nCh\n)\x81"
    loop = node + b"q\x00}" + text("x") + b"h\x00sb."
    with pytest.raises(UserError, match="within itself"):
        read(tmp_path, loop)
    nested = node + (b"}" + text("x") + node) * 20 + b"}b" + b"sb" * 20 + b"."
    with pytest.raises(ValueError, match="too deep"):
        dense(read(tmp_path, nested))


def test_control_characters_of_a_name_are_escaped(tmp_path):
    with pytest.raises(UserError) as caught:
        read(tmp_path, b"c\x1b[31mos\r\n" + b"x" * 150 + b"\n.")
    message = str(caught.value).removeprefix(str(tmp_path))
    assert message.isprintable()
    assert "\\x1b[31mos\\r" in message
    assert len(message) < 200


def saved(value, **how) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **how)
    return buffer.getvalue()


@pytest.mark.parametrize("older", [False, True])
def test_tensors_keep_their_views(tmp_path, older):
    base = torch.arange(24.0).reshape(4, 6)
    value = OrderedDict(
        a=base, t=base.T, part=base[1:3, ::2], empty=torch.zeros(0, 5), one=torch.tensor(3),
        half=torch.arange(3).half(), brain=torch.arange(3).bfloat16(), ground_truth=base > 5,
    )  # fmt: skip
    path = tmp_path / "a.pth"
    path.write_bytes(saved(value, _use_new_zipfile_serialization=not older))
    found = read_state(path)
    assert list(found) == list(value)
    for key, tensor in value.items():
        assert found[key].dtype == tensor.dtype
        assert found[key].stride() == tensor.stride() or tensor.numel() == 0
        assert torch.equal(found[key], tensor)
    assert found["t"].data_ptr() == found["a"].data_ptr(), "one storage, one memory"


def test_tensors_repeat_no_storage_without_end(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(saved({"a": torch.zeros(1).expand(100_000, 100_000)}))
    with pytest.raises(UserError, match="many times the file"):
        read_state(path)


@pytest.mark.parametrize("older", [False, True])
def test_tensor_bytes_that_are_cut_short(tmp_path, older):
    data = saved({"a": torch.zeros(1000)}, _use_new_zipfile_serialization=not older)
    claim = b"M\xe8\x03"
    assert data.count(claim) >= 1
    path = tmp_path / "a.pth"
    path.write_bytes(data.replace(claim, b"M\xe9\x03", 1))
    with pytest.raises(UserError, match="not a file of plain weights"):
        read_state(path)


def test_mutants_and_random_programs_give_values_or_errors(tmp_path):
    run_fuzz(tmp_path, seed=1, count=600, seconds=120)


def run_fuzz(folder: Path, seed: int, count: int, seconds: float) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.unit.pickle_fuzz", str(folder), str(seed), str(count)],
        env={**os.environ, "PYTHONPATH": PYTHON_PATH, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=seconds,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
