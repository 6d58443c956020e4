"""Reader of LAM-A2E's JSON: `names` (52), `metadata` with `fps`, `frames` with `weights`."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from headsplat.formats.arkit.live_link import LiveLinkTable, check_range
from headsplat.formats.arkit.names import BLENDSHAPES, arkit_name
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.files import read_json

_FIX = "make the file again"
_MAY_LACK = "TongueOut"
_RATES = (1, 240)  # frames a second, lowest and highest
_MOST_FRAMES = 240_000  # two hours at 30 a second


def read_lam_table(path: Path) -> LiveLinkTable:
    """Read and check the table; a column `TongueOut` may be missing and is then 0.

    Raises:
        UserError: unreadable, no frames or too many, a coefficient is missing, unknown, duplicate
            or no number from 0 to 1, or there is no frame rate.
    """
    content = read_json(path, _FIX)
    if not isinstance(content, dict) or not isinstance(content.get("metadata"), dict):
        raise UserError(f"{path}: has no 'names', 'metadata' and 'frames'; {_FIX}")
    names = _names(content.get("names"), path)
    fps = content["metadata"].get("fps")
    if type(fps) not in (int, float) or not _RATES[0] <= fps <= _RATES[1]:
        raise UserError(
            f"{path}: 'fps' is {shown(repr(fps), 40)}, expected {_RATES[0]} to {_RATES[1]}; {_FIX}"
        )
    frames = content.get("frames")
    if not isinstance(frames, list) or not frames:
        raise UserError(f"{path}: has no frames; {_FIX}")
    if len(frames) > _MOST_FRAMES:
        raise UserError(
            f"{path}: has {len(frames)} frames, {_MOST_FRAMES} are the most; cut it into parts"
        )
    values = np.array([_row(frame, len(names), k, path) for k, frame in enumerate(frames)])
    check_range(values, names, path)
    columns = {_MAY_LACK: np.zeros(len(values))} | dict(zip(names, values.T, strict=True))
    return LiveLinkTable(np.arange(len(values)) / fps, columns)


def _names(given: Any, path: Path) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(n, str) and n for n in given):
        raise UserError(f"{path}: 'names' is no list of names; {_FIX}")
    names = [arkit_name(name) for name in given]
    for raw, name in zip(given, names, strict=True):
        if name not in BLENDSHAPES or names.count(name) > 1:
            raise UserError(f"{path}: '{shown(raw, 40)}' is unknown or occurs twice; {_FIX}")
    missing = [name for name in BLENDSHAPES if name not in names and name != _MAY_LACK]
    if missing:
        raise UserError(f"{path}: '{missing[0]}' is missing; {_FIX} with all 52 blendshapes")
    return names


def _row(frame: Any, count: int, number: int, path: Path) -> list[float]:
    weights = frame.get("weights") if isinstance(frame, dict) else None
    if not isinstance(weights, list) or len(weights) != count:
        raise UserError(f"{path} frame {number}: 'weights' are not {count} numbers; {_FIX}")
    for value in weights:
        finite = type(value) in (int, float) and abs(value) < math.inf
        if not finite:
            what = shown(repr(value), 40)
            raise UserError(f"{path} frame {number}: a weight is {what}, no number; {_FIX}")
    return [float(min(max(value, -9e9), 9e9)) for value in weights]
