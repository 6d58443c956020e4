"""Restricted unpickler: FLAME's classes are read, and no code is run."""

import io
import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from headsplat.heads.unpickle import dense, load_pickle
from headsplat.runtime.errors import UserError


class Shell:
    """Runs a command when it is unpickled freely."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class StorageOf:
    """Pickles as the storage of a torch tensor made of any bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.data,)


@pytest.fixture
def chumpy(monkeypatch):
    """Stand-ins for chumpy's classes, present while pickling and gone when reading."""
    made = {}
    for module, name in (("chumpy.ch", "Ch"), ("chumpy.reordering", "Select")):
        made[name] = type(name, (object,), {"__module__": module})
        holder = types.ModuleType(module)
        setattr(holder, name, made[name])
        monkeypatch.setitem(sys.modules, module, holder)
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    return made


def write(path: Path, value: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_arrays_sparse_matrices_and_chumpy_nodes_are_read(tmp_path, chumpy, monkeypatch, protocol):
    numbers = np.arange(12.0).reshape(3, 4)
    node, part = chumpy["Ch"](), chumpy["Select"]()
    node.__dict__.update(x=numbers, _dirty_vars=set(), _itr=None)
    part.__dict__.update(a=node, idxs=np.array([5, 0, 7, 7]), preferred_shape=(2, 2))
    columns = sparse.csc_matrix(np.array([[0, 2.5, 0], [1.0, 0, -3.0]]))
    value = {"n": numbers, "c": node, "p": part, "s": columns, "t": "lbs", "f": np.float64(2)}
    path = write(tmp_path / "a.pkl", value, protocol)
    for name in ("chumpy", "chumpy.ch", "chumpy.reordering"):
        monkeypatch.delitem(sys.modules, name)

    read = load_pickle(path)

    np.testing.assert_array_equal(dense(read["n"]), numbers)
    np.testing.assert_array_equal(dense(read["c"]), numbers)
    np.testing.assert_array_equal(dense(read["p"]), [[5, 0], [7, 7]])
    np.testing.assert_array_equal(dense(read["s"]), columns.toarray())
    assert read["t"] == "lbs"
    assert read["f"] == 2
    with pytest.raises(ValueError, match="str"):
        dense(read["t"])


def test_python_2_strings_and_module_names_are_read(tmp_path):
    # As Python 2 wrote it: text protocol, byte strings, copy_reg and the old csc path.
    old = (
        b"(dp0\nS'v'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\n"
        b"S'b'\np5\ntp6\nRp7\n(I1\n(I2\ntp8\ncnumpy\ndtype\np9\n(S'f8'\np10\nI0\nI1\ntp11\nRp12\n"
        b"(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\n"
        b"S'\\x00\\x00\\x00\\x00\\x00\\x00\\xf0?\\x00\\x00\\x00\\x00\\x00\\x00\\x04\\xc0'\np15\n"
        b"tp16\nbsS'm'\np17\nccopy_reg\n_reconstructor\np18\n(cscipy.sparse.csc\ncsc_matrix\np19\n"
        b"c__builtin__\nobject\np20\nNtp21\nRp22\n(dp23\nS'_shape'\np24\n(I1\nI1\ntp25\nsbs."
    )
    path = tmp_path / "old.pkl"
    path.write_bytes(old)
    read = load_pickle(path)
    np.testing.assert_array_equal(read["v"], [1.0, -2.5])
    with pytest.raises(ValueError, match="csc"):
        dense(read["m"])


def test_tensors_inside_an_npy_become_arrays(tmp_path):
    tensors = {"a": torch.arange(6).reshape(2, 3), "b": torch.tensor([[0.5, -1.0]])}
    holder = np.empty((), object)
    holder[()] = tensors
    np.save(tmp_path / "t.npy", holder, allow_pickle=True)
    read = load_pickle(tmp_path / "t.npy")
    for key, tensor in tensors.items():
        assert isinstance(read[key], np.ndarray)
        np.testing.assert_array_equal(read[key], tensor.numpy())


@pytest.mark.parametrize("wrap", ["bare", "nested", "npy", "state", "storage"])
def test_a_pickle_that_calls_the_shell_runs_nothing(tmp_path, chumpy, wrap):
    mark = tmp_path / "ran"
    attack = Shell(f"touch {mark}")
    path = tmp_path / "bad.pkl"
    if wrap == "bare":
        write(path, attack)
    elif wrap == "nested":
        write(path, {"v_template": np.zeros(3), "shapedirs": [attack]})
    elif wrap == "state":
        node = chumpy["Ch"]()
        node.x = attack
        write(path, {"shapedirs": node})
    elif wrap == "storage":
        # A pickle inside the bytes that a tensor's storage is read from.
        write(path, StorageOf(pickle.dumps(attack, protocol=2)))
    else:
        holder = np.empty((), object)
        holder[()] = attack
        path = tmp_path / "bad.npy"
        np.save(path, holder, allow_pickle=True)
    with pytest.raises(UserError) as caught:
        load_pickle(path)
    assert not mark.exists()
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    if wrap != "storage":
        assert "system" in message


@pytest.mark.parametrize(
    "body",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c__builtin__\ngetattr\n.",
        b"csubprocess\nPopen\n.",
        b"cnumpy\nload\n.",
        b"ctorch\nload\n.",
        b"cchumpyfake\nCh\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
    ],
)
def test_every_other_global_is_refused_by_name(tmp_path, body):
    path = tmp_path / "g.pkl"
    path.write_bytes(body)
    with pytest.raises(UserError, match="refused"):
        load_pickle(path)


def test_truncated_and_missing_files_end_in_one_line(tmp_path):
    whole = write(tmp_path / "w.pkl", {"v": np.arange(1000.0)}).read_bytes()
    for length in (0, 1, 40, len(whole) - 1):
        path = tmp_path / "cut.pkl"
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"cut\.pkl: not a complete pickle"):
            load_pickle(path)
    with pytest.raises(UserError, match="cannot be read"):
        load_pickle(tmp_path / "nosuch.pkl")


def test_a_tensor_cannot_reach_beyond_its_storage(tmp_path):
    buffer = io.BytesIO()
    holder = np.empty((), object)
    holder[()] = torch.arange(4)
    np.save(buffer, holder, allow_pickle=True)
    data = buffer.getvalue()
    # The size (4,) becomes (90,): BININT1 4 -> 90 just before the stride's tuple.
    forged = data.replace(b"K\x04\x85", b"K\x5a\x85", 1)
    assert forged != data
    path = tmp_path / "forged.npy"
    path.write_bytes(forged)
    with pytest.raises(UserError, match="not a complete pickle"):
        load_pickle(path)
