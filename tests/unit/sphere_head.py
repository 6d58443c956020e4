"""A sphere as head model: smooth, closed except for the bottom ring, a few expressions."""

import numpy as np

from headsplat.heads.model import ContourSet, HeadModel, LandmarkSet

RADIUS = 0.1


def sphere_head(rows: int = 12, columns: int = 20, expressions: int = 3) -> HeadModel:
    polar = np.linspace(0.08, np.pi - 0.3, rows)
    turn = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    p, t = np.meshgrid(polar, turn, indexing="ij")
    direction = np.stack([np.sin(p) * np.sin(t), np.cos(p), np.sin(p) * np.cos(t)], -1)
    template = (direction.reshape(-1, 3) * RADIUS).astype(np.float32)
    grid = np.arange(rows * columns).reshape(rows, columns)
    a, b = grid[:-1], np.roll(grid, -1, 1)[:-1]
    c, d = grid[1:], np.roll(grid, -1, 1)[1:]
    faces = np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)]).reshape(-1, 3)

    # The atlas needs a seam: its columns are not shared between the first and the last.
    seam = np.arange(rows * (columns + 1)).reshape(rows, columns + 1)
    v, u = np.meshgrid(np.linspace(0.98, 0.02, rows), np.linspace(0.02, 0.98, columns + 1),
                       indexing="ij")  # fmt: skip
    e, f, g, h = seam[:-1, :-1], seam[:-1, 1:], seam[1:, :-1], seam[1:, 1:]
    uv_faces = np.concatenate([np.stack([e, g, f], -1), np.stack([f, g, h], -1)]).reshape(-1, 3)

    count = len(template)
    x, y, z = template.T
    modes = np.zeros((count, 3, expressions), dtype=np.float32)
    for mode in range(expressions):
        modes[:, mode % 3, mode] = 0.02 * np.exp(-((y - 0.03 * (mode - 1)) ** 2) / 0.001) * (z > 0)
    skinning = np.zeros((count, 5), dtype=np.float32)
    skinning[:, 1] = 1
    regressor = np.zeros((5, count), dtype=np.float32)
    regressor[:, count // 2] = 1
    where = {
        "boundary": y < y.min() + 1e-4,
        "face": z > 0.03,
        "lips": (z > 0.06) & (abs(y + 0.04) < 0.02),
        "eye_region": (z > 0.06) & (abs(y - 0.03) < 0.02),
        "left_eyeball": np.zeros(count, dtype=bool),
        "right_eyeball": np.zeros(count, dtype=bool),
        "neck": y < -0.07,
        "scalp": y > 0.06,
    }
    weights = np.full((4, 3), 1 / 3, dtype=np.float32)
    points = LandmarkSet(np.arange(4, dtype=np.int32), weights, np.arange(4, dtype=np.int32))
    contour = ContourSet(
        np.zeros((79, 17), dtype=np.int32), np.full((79, 17, 3), 1 / 3, dtype=np.float32)
    )
    return HeadModel(
        template=template,
        shape_basis=np.zeros((count, 3, 2), dtype=np.float32),
        expression_basis=modes,
        joint_regressor=regressor,
        parents=np.array([-1, 0, 1, 1, 1], dtype=np.int32),
        skinning=skinning,
        eyelid_basis=np.zeros((count, 3, 2), dtype=np.float32),
        faces=faces.astype(np.int32),
        uv=np.stack([u.ravel(), v.ravel()], -1).astype(np.float32),
        uv_faces=uv_faces.astype(np.int32),
        regions={key: np.flatnonzero(value).astype(np.int32) for key, value in where.items()},
        landmarks={"mediapipe": points, "multipie68": points, "contour": contour},
        shape_std=np.ones(2, dtype=np.float32),
        expression_std=np.ones(expressions, dtype=np.float32),
        name="sphere",
        version="1",
        licence="MIT",
    )
