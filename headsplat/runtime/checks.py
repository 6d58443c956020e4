"""Shape checks at the doors of the library."""

from typing import Any


def check_shape(value: Any, pattern: str, name: str) -> dict[str, int]:
    """Check `value.shape` against e.g. "B V 3" and return the sizes bound to the letters.

    Raises:
        ValueError: names the argument, the expected pattern and the shape it has.
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
