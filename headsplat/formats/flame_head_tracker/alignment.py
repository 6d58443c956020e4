"""Undo flame-head-tracker's face alignment: poses of aligned images to source images.

The tracker aligns every frame by a similarity from eyes and mouth. Inverting it exactly gives
different intrinsics per frame. A track has one camera, so a rigid motion is fitted to the
projections of those cameras. The residual is reported.
"""

import numpy as np

from headsplat.formats.flame import matrices

# MediaPipe's points of the tracker's 68: its "left" eye is the subject's right one.
_EYES = (33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380)
_MOUTH = (61, 291)
_MARGIN = 1.3
_STEPS = 6


def alignment(points: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The similarity from a source image to the aligned one.

    Args:
        points: (478, 2 or 3) MediaPipe points in source pixels.
        size: width and height of the aligned image.

    Returns:
        A (2, 2), a rotation times a scale, and d (2,): p_aligned = A p_source + d.
    """
    points = np.asarray(points, np.float64)[:, :2]
    first, second = (points[list(eye)].mean(0) for eye in _EYES)
    eyes, across = (first + second) / 2, second - first
    down = points[list(_MOUTH)].mean(0) - eyes
    x = across - down[::-1] * (-1, 1)
    x *= max(2 * np.hypot(*across), 1.8 * np.hypot(*down)) * _MARGIN / np.hypot(*x)
    y = x[::-1] * (-1, 1)
    A = np.linalg.inv(2 / size * np.stack([x, y], 1))
    return A, -A @ (eyes + 0.1 * down - x - y)


def undo_alignment(
    R: np.ndarray, t: np.ndarray, K: np.ndarray, A: np.ndarray, d: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Convert a camera of the aligned image to the source image, exactly.

    Args:
        R: (3, 3) head to camera.
        t: (3,) meters.
        K: (3, 3) of the aligned image, with equal focal lengths.
        A: (2, 2) and d (2,) as `alignment` gives them.
        d: see `A`.

    Returns:
        R (3, 3), t (3,), K (3, 3) that project to A^-1 (p_aligned - d).
    """
    scale = np.sqrt(np.linalg.det(A))
    roll = np.eye(3)
    roll[:2, :2] = A.T / scale
    source = np.diag([K[0, 0] / scale, K[1, 1] / scale, 1.0])
    source[:2, 2] = np.linalg.solve(A, K[:2, 2] - d)
    return roll @ R, roll @ t, source


def one_camera(
    R: np.ndarray, t: np.ndarray, K: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rigid motions under one camera that match the projections of per-frame cameras.

    The shared intrinsics are the medians; motions are least-squares (Gauss-Newton over N x 6).

    Args:
        R: (N, 3, 3) head to camera.
        t: (N, 3) meters.
        K: (N, 3, 3).
        points: (P, 3) of the head, meters.

    Returns:
        R (N, 3, 3), t (N, 3), the shared K (3, 3), and residual distances (N, P) in pixels.
    """
    wanted = _project(points @ R.swapaxes(1, 2) + t[:, None], K)
    shared = np.median(K, axis=0)
    depth = t[:, 2:] * shared[0, 0] / K[:, :1, 0]
    R, t = R.copy(), np.concatenate([t[:, :2], depth], 1)
    t[:, :2] += (K[:, :2, 2] - shared[:2, 2]) * depth / shared[0, 0]
    for _ in range(_STEPS):
        turned = points @ R.swapaxes(1, 2)
        seen = turned + t[:, None]
        left = wanted - _project(seen, shared[None])
        slope = _slope(seen, shared)
        # Turning by w about the head's origin moves a point by w x p.
        jacobian = np.concatenate([slope @ _cross(-turned), slope], -1)
        jacobian = jacobian.reshape(len(R), -1, 6)
        step = np.linalg.solve(
            jacobian.swapaxes(1, 2) @ jacobian,
            jacobian.swapaxes(1, 2) @ left.reshape(len(R), -1, 1),
        )[..., 0]
        R, t = matrices(step[:, :3]) @ R, t + step[:, 3:]
    left = wanted - _project(points @ R.swapaxes(1, 2) + t[:, None], shared[None])
    return R, t, shared, np.linalg.norm(left, axis=-1)


def _project(seen: np.ndarray, K: np.ndarray) -> np.ndarray:
    pixels = seen @ K.swapaxes(1, 2)
    return pixels[..., :2] / pixels[..., 2:]


def _slope(seen: np.ndarray, K: np.ndarray) -> np.ndarray:
    """(N, P, 2, 3) derivative of the projection."""
    x, y, z = np.moveaxis(seen, -1, 0)
    zero = np.zeros_like(z)
    rows = [K[0, 0] / z, zero, -K[0, 0] * x / z**2, zero, K[1, 1] / z, -K[1, 1] * y / z**2]
    return np.stack(rows, -1).reshape(*z.shape, 2, 3)


def _cross(vector: np.ndarray) -> np.ndarray:
    """(..., 3) -> (..., 3, 3), the matrix of the cross product."""
    x, y, z = np.moveaxis(vector, -1, 0)
    zero = np.zeros_like(z)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    return np.stack(rows, -1).reshape(*z.shape, 3, 3)
