"""Checks of arrays: shapes of arguments, and numbers from files."""

from typing import Any

import numpy as np


def check_shape(value: Any, pattern: str, name: str) -> dict[str, int]:
    """Check `value.shape` against a pattern such as "B V 3"; returns the sizes of the letters.

    Raises:
        ValueError: the shape differs; the message names argument, pattern and shape.
    """
    shape = tuple(value.shape)
    tokens = pattern.split()
    bound: dict[str, int] = {}
    if len(tokens) == len(shape) and all(
        int(token) == size if token.isdigit() else bound.setdefault(token, size) == size
        for token, size in zip(tokens, shape, strict=True)
    ):
        return bound
    raise ValueError(f"{name}: expected shape [{pattern}], got {list(shape)}")


def as_float32(values: np.ndarray) -> np.ndarray | None:
    """Numbers as float32; None if one is not finite, or too large for it."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    return single if np.isfinite(single).all() else None
