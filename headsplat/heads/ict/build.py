"""ICT-FaceKit as a `HeadModel`: 100 identities, 53 ARKit-named shapes, joints, atlas, landmarks.

Joints and lids replace three of the 53 ARKit shapes, which avoids redundant parameters: `jawOpen`
is the jaw's rotation about +x, `eyeBlink_L` and `eyeBlink_R` are the two eyelid coefficients. Their
columns stay in place and are zero. Code that drives the head with ARKit coefficients turns the jaw
by 25.3 degrees times `jawOpen` and sets the lids. `mouthClose` stays a corrective for the opened
jaw, as in ICT-FaceKit: at 1 it closes the lips of a fully opened jaw.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from headsplat.heads.calibrate import with_calibrated_mediapipe
from headsplat.heads.ict import parts
from headsplat.heads.ict.albedo import paint
from headsplat.heads.ict.hidden import visible_triangles
from headsplat.heads.ict.joints import Rig, build_rig
from headsplat.heads.ict.landmarks import contour, static_points
from headsplat.heads.ict.mesh import Graph, build_atlas, drop_unused, triangulate
from headsplat.heads.ict.regions import build_regions, inside_bust
from headsplat.heads.ict.source import FaceXModel, read_source
from headsplat.heads.model import ContourSet, HeadModel, LandmarkSet
from headsplat.runtime.logs import log

NAME = "ict"
LICENCE = "MIT License, Copyright (c) 2020 USC Institute for Creative Technologies"
# Prior deviation of blendshape coefficients: in 0..1, mostly near 0.
EXPRESSION_STD = 0.3
# Gain of ICT's blink, which otherwise leaves a slit at the outer corner.
BLINK_GAIN = 1.10
# Threshold of displacement for static vertices, ignoring `jawOpen`.
STILL = 5e-4


def import_ict_head(out: Path | str, source: Path | str) -> None:
    """Read ICT-FaceKit at `source` (folder, zip or tar) and publish the head model at `out`."""
    build_head(read_source(source)).save(out)


def build_head(source: FaceXModel) -> HeadModel:
    """Derive the head model from ICT's shapes."""
    vertices = source.neutral.astype(np.float64) * parts.METRES + parts.OFFSET
    expressions = source.expressions * np.float32(parts.METRES)
    faces, texture_faces, polygon = _kept_triangles(source, vertices)
    opened = parts.EXPRESSIONS.index("jawOpen")
    jaw_open = expressions[opened].astype(np.float64)
    still = np.abs(np.delete(expressions, opened, 0)).max((0, 2)) < STILL

    rig = build_rig(vertices, faces, jaw_open, still)
    whole = _assemble(source, vertices, expressions, faces, texture_faces, polygon, rig)
    stays = visible_triangles(whole, Graph(faces, vertices))
    faces, texture_faces, polygon = faces[stays], texture_faces[stays], polygon[stays]
    # Joints must be regressed from kept vertices.
    rig = build_rig(vertices, faces, jaw_open, still)
    log.info("ICT head: jawOpen is %.1f degrees of the jaw", np.rad2deg(rig.jaw_angle))
    head = _assemble(source, vertices, expressions, faces, texture_faces, polygon, rig)
    return with_calibrated_mediapipe(_compacted(head, source.landmarks))


def _kept_triangles(
    source: FaceXModel, vertices: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    wanted = np.zeros(parts.POLYGONS, dtype=bool)
    for part in parts.PARTS.values():
        wanted[part.polygons] = True
    faces, texture_faces, polygon = triangulate(source.polygons, source.texture_polygons, vertices)
    skin = np.zeros(len(vertices), dtype=bool)
    for name in parts.SKIN:
        skin[parts.PARTS[name].vertices] = True
    # Whole polygons are removed, so that the rim does not follow diagonals.
    outside = np.zeros(parts.POLYGONS, dtype=bool)
    outside[polygon[(skin & ~inside_bust(vertices))[faces].any(1)]] = True
    kept = wanted[polygon] & ~outside[polygon]
    return faces[kept], texture_faces[kept], polygon[kept]


def _assemble(
    source: FaceXModel,
    vertices: np.ndarray,
    expressions: np.ndarray,
    faces: np.ndarray,
    texture_faces: np.ndarray,
    polygon: np.ndarray,
    rig: Rig,
) -> HeadModel:
    """The model in ICT's vertex numbers, unused ones included, without landmarks."""
    uv, uv_faces = build_atlas(source.texture, texture_faces, polygon)
    masks = build_regions(vertices, faces, source.landmarks)
    basis = np.moveaxis(expressions, 0, 2).copy()
    blinks = [parts.EXPRESSIONS.index(f"eyeBlink_{side}") for side in "LR"]
    eyelids = basis[:, :, blinks] * np.float32(BLINK_GAIN)
    basis[:, :, [*blinks, parts.EXPRESSIONS.index("jawOpen")]] = 0
    close = parts.EXPRESSIONS.index("mouthClose")
    basis[:, :, close] = rig.before_jaw(basis[:, :, close].astype(np.float64))
    empty = LandmarkSet(np.zeros(0, np.int32), np.zeros((0, 3), np.float32), np.zeros(0, np.int32))
    line = ContourSet(np.zeros((79, 17), np.int32), np.full((79, 17, 3), 1 / 3, np.float32))
    count = len(parts.EXPRESSIONS)
    return HeadModel(
        template=vertices.astype(np.float32),
        shape_basis=np.moveaxis(source.identities * np.float32(parts.METRES), 0, 2),
        expression_basis=basis,
        pose_basis=rig.correctives,
        joint_regressor=rig.regressor.astype(np.float32),
        parents=np.array([-1, 0, 1, 1, 1], np.int32),
        skinning=rig.skinning.astype(np.float32),
        eyelid_basis=eyelids,
        faces=faces,
        uv=uv,
        uv_faces=uv_faces,
        regions={name: np.flatnonzero(mask).astype(np.int32) for name, mask in masks.items()},
        landmarks={"mediapipe": empty, "multipie68": empty, "contour": line},
        shape_std=np.ones(parts.IDENTITIES, np.float32),
        expression_std=np.full(count, EXPRESSION_STD, np.float32),
        expression_range=np.tile(np.array([0, 1], np.float32), (count, 1)),
        expression_names=parts.EXPRESSIONS,
        albedo=paint(vertices, faces, masks, source.landmarks, rig.joints[3:]),
        name=NAME,
        version=_version(source),
        licence=LICENCE,
    )


def _version(source: FaceXModel) -> str:
    digest = hashlib.sha256()
    for array in (source.neutral, source.identities, source.expressions):
        digest.update(np.ascontiguousarray(array))
    return f"light-{digest.hexdigest()[:8]}"


def _compacted(head: HeadModel, landmarks: np.ndarray) -> HeadModel:
    """Only vertices and coordinates in use, and the 68 landmarks in those numbers."""
    mesh = drop_unused(head.faces, len(head.template))
    atlas = drop_unused(head.uv_faces, len(head.uv))
    kept = mesh.kept
    regions = {name: mesh.new[ids] for name, ids in head.regions.items()}
    regions = {name: ids[ids >= 0].astype(np.int32) for name, ids in regions.items()}
    skin = (kept < parts.PARTS["head"].vertices.stop)[mesh.faces].all(1)
    corners = mesh.new[landmarks].astype(np.int32)
    template = head.template[kept]
    return replace(
        head,
        template=template,
        shape_basis=np.ascontiguousarray(head.shape_basis[kept]),
        expression_basis=head.expression_basis[kept],
        pose_basis=head.pose_basis[kept],
        joint_regressor=np.ascontiguousarray(head.joint_regressor[:, kept]),
        skinning=head.skinning[kept],
        eyelid_basis=head.eyelid_basis[kept],
        albedo=head.albedo[kept],
        faces=mesh.faces,
        uv=head.uv[atlas.kept],
        uv_faces=atlas.faces,
        regions=regions,
        landmarks={
            "mediapipe": head.landmarks["mediapipe"],
            "multipie68": static_points(mesh.faces, skin, corners),
            "contour": contour(template, mesh.faces, skin, corners),
        },
    )
