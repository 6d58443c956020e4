"""Files in the layouts that FLAME, metrical-tracker, torch and MICA publish, small; and mutants."""

import io
import pickle
import random
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import nn

from headsplat.formats.flashavatar.checkpoint import read_checkpoint
from headsplat.formats.frame import read_frame
from headsplat.heads.flame import _regions
from headsplat.heads.unpickle import dense, load_pickle
from headsplat.networks.checkpoints import read_state
from headsplat.networks.torch_archive import TorchArchive

from .frame_folders import frames


def stand_in(module: str, name: str) -> Any:
    """An object of a class that is there only while it is pickled."""
    holder = types.ModuleType(module)
    kind = type(name, (object,), {"__module__": module})
    setattr(holder, name, kind)
    sys.modules[module] = holder
    return kind()


def flame_model() -> dict[str, Any]:
    """The keys and classes of FLAME 2020's file, with few vertices."""
    random_numbers = np.random.default_rng(0)
    sys.modules["chumpy"] = types.ModuleType("chumpy")
    node, part = stand_in("chumpy.ch", "Ch"), stand_in("chumpy.reordering", "Select")
    node.__dict__.update(x=random_numbers.normal(size=(7, 3, 4)), _dirty_vars=set(), _itr=None)
    part.__dict__.update(a=node, idxs=np.arange(12), preferred_shape=(4, 3))
    return {
        "v_template": random_numbers.normal(size=(7, 3)),
        "shapedirs": node,
        "posedirs": part,
        "J_regressor": sparse.random(5, 7, 0.3, format="csc", random_state=1),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "bs_style": "lbs",
    }


def landmark_table() -> np.ndarray:
    """As `landmark_embedding.npy`: one object array, with tensors in the dictionary."""
    table = np.empty((), object)
    table[()] = {
        "static_lmk_faces_idx": np.arange(51),
        "dynamic_lmk_faces_idx": torch.arange(34).reshape(2, 17),
        "dynamic_lmk_bary_coords": torch.rand(2, 17, 3, generator=torch.Generator().manual_seed(0)),
    }
    return table


def weights() -> OrderedDict[str, torch.Tensor]:
    """A state dict, versions included."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).state_dict()


def make_samples(folder: Path) -> None:
    """Write one file of every kind and protocol; the suffix says which door reads it."""
    model = flame_model()
    for protocol in (0, 1, 2, 4):
        (folder / f"model{protocol}.pkl").write_bytes(pickle.dumps(model, protocol))
    masks = {name: np.arange(5) for name in ("face", "boundary")}
    (folder / "masks.pkl").write_bytes(pickle.dumps(masks, 2))
    np.save(folder / "landmark_embedding.npy", landmark_table(), allow_pickle=True)
    torch.save(frames(1)[0], folder / "00000.frame")
    torch.save(weights(), folder / "zip.pth")
    torch.save(weights(), folder / "older.pth", _use_new_zipfile_serialization=False)
    adam = torch.optim.Adam([nn.Parameter(torch.ones(3))])
    torch.save({"arcface": weights(), "opt": adam.state_dict()}, folder / "mica.tar")


def walk(value: Any) -> int:
    """Visit all of a read value as later code may; returns how many parts it has."""
    if isinstance(value, dict):
        return 1 + sum(walk(key) + walk(part) for key, part in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return 1 + sum(map(walk, value))
    if isinstance(value, np.ndarray):
        assert not value.dtype.hasobject
        value.copy()
    with suppress(ValueError):
        dense(value)
    assert len(repr(value)) < 1 << 24
    return 1


def _archive(path: Path) -> Any:
    with TorchArchive(path) as archive:
        tables = [archive.content]
        for value in archive.content.values() if isinstance(archive.content, dict) else ():
            tables.append(value)
        for table in tables:
            for reference in table.values() if isinstance(table, dict) else ():
                if hasattr(reference, "tensor"):
                    archive.read(reference)
        return archive.content


DOORS: dict[str, list[Callable[[Path], Any]]] = {
    ".pkl": [load_pickle, _regions],
    ".npy": [load_pickle],
    ".frame": [read_frame],
    ".pth": [read_state, read_checkpoint],
    ".tar": [_archive],
}


def mutated(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """`data` with one to four changes."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(out) + 1)
        size = chance.choice((1, 1, 2, 4, 8, 64))
        kind = chance.randrange(7)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            out[at : at + size] = chance.randbytes(size)
        elif kind == 2:
            del out[at : at + size]
        elif kind == 3:
            out[at:at] = out[at : at + size] * chance.choice((1, 3, 100))
        elif kind == 4:
            claim = chance.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 40))
            out[at : at + 8] = struct.pack("<Q", claim)[: chance.choice((4, 8))]
        elif kind == 5:
            other = chance.choice(others)
            start = chance.randrange(len(other))
            out[at:at] = other[start : start + chance.choice((4, 30, 400))]
        elif out:
            out[chance.randrange(len(out))] = chance.choice(
                b"(.0123abcdeghijloqrstu}]N\x81\x85\x93RQ"
            )
    if chance.random() < 0.1:
        del out[chance.randrange(len(out) + 1) :]
    return bytes(out)


def rezipped(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A zip whose pickle is changed, and whose checksums are right again."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            new.writestr(info, change(content) if info.filename.endswith("data.pkl") else content)
    return buffer.getvalue()
