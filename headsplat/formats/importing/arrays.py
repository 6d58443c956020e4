"""Checked reading of selected arrays from the `.npz` of another tool."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.npz import Npz
from headsplat.runtime.zips import BROKEN


def read_arrays(
    path: Path, shapes: Mapping[str, str], optional: Mapping[str, str] | None = None
) -> tuple[dict[str, np.ndarray], frozenset[str]]:
    """Read some arrays of an `.npz` as float64, without pickle.

    Args:
        path: the file.
        shapes: key -> its shape, e.g. "1 3"; a size of "n" may be any.
        optional: the same of keys that may be missing.

    Returns:
        the arrays by key, and the names of all arrays in the file.

    Raises:
        UserError: the file cannot be read, a key is missing, or an array has another shape or
            is not finite; the line names file and key.
    """
    key = ""
    try:
        with Npz(path) as archive:
            names = frozenset(archive.names)
            missing = [key for key in shapes if key not in names]
            if missing:
                raise UserError(f"{path}: '{missing[0]}' is missing; export it again")
            wanted = {**shapes, **{k: v for k, v in (optional or {}).items() if k in names}}
            arrays = {}
            for key, shape in wanted.items():
                arrays[key] = _checked(archive.read(key), shape, f"{path}: '{key}'")
    except BROKEN as error:
        where = f"{path}: '{key}'" if key else str(path)
        raise UserError(
            f"{where} cannot be read ({one_line(error)}); copy or export it again"
        ) from error
    return arrays, names


def _checked(array: np.ndarray, shape: str, where: str) -> np.ndarray:
    tokens = shape.split()
    fits = array.ndim == len(tokens) and all(
        token == "n" or int(token) == size for token, size in zip(tokens, array.shape, strict=True)
    )
    if not fits:
        raise UserError(
            f"{where} has shape {list(array.shape)}, expected [{', '.join(tokens)}]; "
            "export it again"
        )
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise UserError(f"{where} holds values that are not finite numbers; track the frame again")
    return array.astype(np.float64)
