"""A tiny head model with random valid arrays."""

import numpy as np

from headsplat.heads.model import REQUIRED_REGIONS, ContourSet, HeadModel, LandmarkSet


def toy_head(vertices: int = 40, identity: int = 6, expression: int = 5, pose: bool = True):
    rng = np.random.default_rng(3)

    def noise(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32) * 0.01

    def weights(*shape: int) -> np.ndarray:
        value = rng.random(shape).astype(np.float32) + 0.01
        return value / value.sum(-1, keepdims=True)

    faces = np.array([[i, i + 1, i + 2] for i in range(vertices - 2)], dtype=np.int32)

    def landmarks(count: int) -> LandmarkSet:
        face = rng.integers(0, len(faces), count).astype(np.int32)
        return LandmarkSet(face, weights(count, 3), np.arange(count, dtype=np.int32))

    contour = rng.integers(0, len(faces), (79, 17)).astype(np.int32)
    return HeadModel(
        template=noise(vertices, 3) * 10,
        shape_basis=noise(vertices, 3, identity),
        expression_basis=noise(vertices, 3, expression),
        joint_regressor=weights(5, vertices),
        parents=np.array([-1, 0, 1, 1, 1], dtype=np.int32),
        skinning=weights(vertices, 5),
        eyelid_basis=noise(vertices, 3, 2),
        faces=faces,
        uv=rng.random((vertices, 2)).astype(np.float32),
        uv_faces=faces,
        regions={name: np.arange(3, dtype=np.int32) for name in REQUIRED_REGIONS},
        landmarks={
            "mediapipe": landmarks(12),
            "multipie68": landmarks(51),
            "contour": ContourSet(contour, weights(79, 17, 3)),
        },
        shape_std=np.ones(identity, dtype=np.float32),
        expression_std=np.ones(expression, dtype=np.float32),
        name="toy",
        version="1",
        licence="MIT",
        pose_basis=noise(vertices, 3, 36) if pose else None,
    )
