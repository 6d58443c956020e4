"""JSON tables of other tools with arbitrary values: imported, or refused in one line."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headsplat.formats.imavatar.reader import read_imavatar
from headsplat.formats.importing.record import PARTS, ImportRecord
from headsplat.formats.vhap.reader import read_vhap
from headsplat.frames.crop import Crop
from headsplat.runtime.errors import UserError

from . import test_import_imavatar as imavatar
from . import test_import_vhap as vhap
from .foreign_flame import options

STRANGE = [
    None, True, 0, -1, 3.5, 1e308, float("nan"), 10**30, "x", "", "../../x", "\0", "\u2028\x1b[0m",
    [], {}, [[1]], {"a": 1}, [1, "a"],
]  # fmt: skip
RECORD = {
    "kind": "vhap", "folder": "x", "img_size": [4, 4], "ids": [1], "notes": ["a"],
    "parts": {name: {"1": ["a.png", None, None]} for name in PARTS},
}  # fmt: skip
CROP = {"x0": 0, "y0": 0, "side": 4, "size": 4, "source_width": 4, "source_height": 4}


def places(value: Any, so_far: tuple = ()) -> Iterator[tuple]:
    yield so_far
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value[:3]) if isinstance(value, list) else items
    for key, part in items:
        yield from places(part, (*so_far, key))


def changed(value: Any, chance: random.Random) -> Any:
    value = copy.deepcopy(value)
    place = chance.choice(list(places(value)))
    if not place:
        return chance.choice(STRANGE)
    node = value
    for key in place[:-1]:
        node = node[key]
    if chance.random() < 0.3:
        del node[place[-1]]
    else:
        node[place[-1]] = chance.choice(STRANGE)
    return value


def imavatar_folder(folder: Path) -> tuple[Path, Callable[[], Any]]:
    imavatar.write(folder, imavatar.table())
    return folder / "flame_params.json", lambda: read_imavatar(folder, options())


def vhap_folder(folder: Path) -> tuple[Path, Callable[[], Any]]:
    vhap.write(folder, vhap.table())
    return folder / "transforms.json", lambda: read_vhap(folder, options(vhap.NEW))


def record(folder: Path) -> tuple[Path, Callable[[], Any]]:
    path = folder / "import.json"
    path.write_text(json.dumps(RECORD))
    return path, lambda: ImportRecord.load(path)


def crop(folder: Path) -> tuple[Path, Callable[[], Any]]:
    path = folder / "crop.json"
    path.write_text(json.dumps(CROP))
    return path, lambda: Crop.load(path)


@pytest.mark.parametrize("make", [imavatar_folder, vhap_folder, record, crop])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numbers like 1e308 overflow
def test_any_value_in_any_place(tmp_path, make):
    path, read = make(tmp_path)
    whole = json.loads(path.read_text())
    assert read()
    refused = 0
    for number in range(120):
        path.write_text(json.dumps(changed(whole, random.Random(number))))
        try:
            read()
        except UserError as error:
            refused += 1
            assert str(error).isprintable()  # noqa: PT017 - most are refused, none need be
    assert refused > 30
