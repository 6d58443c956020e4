"""The arrays of `track.npz`: their shapes and types, and what a file may hold in them."""

from collections.abc import Mapping

import numpy as np

from headsplat.runtime.errors import UserError

# One letter is one size: N frames, S identity and E expression coefficients, G landmark groups.
SHAPES = {
    "ids": "N", "status": "N", "confidence": "N", "interpolated": "N", "shape": "S",
    "exp": "N E", "jaw": "N 6", "eyes": "N 12", "eyelids": "N 2", "R": "N 3 3", "t": "N 3",
    "K": "3 3", "img_size": "2", "head_R": "N 3 3", "head_t": "N 3", "camera_R": "3 3",
    "camera_t": "3", "residual_px": "N", "residual_iod": "N", "residual_group": "N G",
    "group_names": "G", "head_name": "", "head_version": "", "head_licence": "", "fps": "",
}  # fmt: skip
NOT_FLOAT = {
    "ids": np.int32, "img_size": np.int64, "interpolated": bool,
    **dict.fromkeys(("status", "group_names", "head_name", "head_version", "head_licence"), str),
}  # fmt: skip
# Kind of an array -> the kinds it may have in the file.
_KINDS = {"f": "fiu", "i": "iu", "b": "biu", "U": "U"}
# Arrays that a track may lack.
OPTIONAL = {"neck": "N 6", "trunk_R": "N 3 3", "trunk_t": "N 3"}
# Residuals of frames without a face are NaN; all other floats are finite.
_MAY_BE_NAN = ("residual_px", "residual_iod", "residual_group")
_LARGEST_SIDE = 16384  # pixels; the rasterizer's limit
# Distance of R Rᵀ from the identity in a rotation R, and of a place from the camera or the world's
# origin, meters; both at most.
_ROTATIONS, _NOT_TURNED = ("R", "head_R", "camera_R", "trunk_R"), 0.02
_PLACES, _FARTHEST = ("t", "head_t", "camera_t", "trunk_t"), 1000.0
_RATES = (1e-3, 1000)  # frames a second, lowest and highest


def require_valid(arrays: Mapping[str, np.ndarray], origin: str) -> None:
    """Check shapes, types, numbers and poses.

    Args:
        arrays: by name; all of `SHAPES`, perhaps some of `OPTIONAL`.
        origin: of the arrays, for the message.

    Raises:
        UserError: the message names the array.
    """
    sizes: dict[str, int] = {}
    given = {name: pattern for name, pattern in OPTIONAL.items() if name in arrays}
    for name, pattern in (SHAPES | given).items():
        value, tokens = arrays[name], pattern.split()
        expected = [int(t) if t.isdigit() else sizes.get(t, t) for t in tokens]
        if value.ndim != len(tokens) or any(
            isinstance(want, int) and want != have
            for want, have in zip(expected, value.shape, strict=True)
        ):
            raise UserError(
                f"{origin}: array '{name}' has shape {list(value.shape)}, expected "
                f"[{', '.join(map(str, expected))}]; remake the track"
            )
        sizes.update({t: n for t, n in zip(tokens, value.shape, strict=True) if not t.isdigit()})
        wanted = np.dtype(NOT_FLOAT.get(name, np.float32)).kind
        if value.dtype.kind not in _KINDS[wanted]:
            raise UserError(f"{origin}: array '{name}' has type {value.dtype}; remake the track")
        finite = value.dtype.kind != "f" or name in _MAY_BE_NAN or np.isfinite(value).all()
        if not finite:
            raise UserError(f"{origin}: array '{name}' is not finite; remake the track")
    if ("trunk_R" in arrays) != ("trunk_t" in arrays):
        raise UserError(f"{origin}: has one of 'trunk_R' and 'trunk_t' alone; remake the track")
    _require_poses(arrays, origin)
    height, width = arrays["img_size"].tolist()
    if not (1 <= height <= _LARGEST_SIDE and 1 <= width <= _LARGEST_SIDE):
        size = f"{width} x {height} pixels, expected 1 to {_LARGEST_SIDE} a side"
        raise UserError(f"{origin}: array 'img_size' says {size}; remake the track")
    low, high = _RATES
    if not low <= arrays["fps"] <= high:
        raise UserError(
            f"{origin}: array 'fps' is {arrays['fps']}, expected {low} to {high}; remake the track"
        )


def _require_poses(arrays: Mapping[str, np.ndarray], origin: str) -> None:
    """Raise `UserError` for arrays that are no rotations, and for places too far away."""
    for name in _ROTATIONS:
        turn = np.asarray(arrays.get(name, np.eye(3)), np.float64)
        whole = (np.abs(turn) < 2).all()  # larger numbers might overflow below
        whole = whole and (np.abs(turn @ turn.swapaxes(-1, -2) - np.eye(3)) < _NOT_TURNED).all()
        if not (whole and (np.linalg.det(turn) > 0).all()):
            raise UserError(f"{origin}: array '{name}' holds no rotations; remake the track")
    for name in _PLACES:
        if not (np.abs(arrays.get(name, 0)) <= _FARTHEST).all():
            raise UserError(
                f"{origin}: array '{name}' holds places more than {_FARTHEST:g} m away; "
                "remake the track"
            )


def native(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays in this machine's byte order, which PyTorch needs."""
    return {name: array.astype(array.dtype.newbyteorder("="), copy=False)
            for name, array in arrays.items()}  # fmt: skip
