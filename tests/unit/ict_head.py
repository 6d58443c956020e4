"""The imported ICT head, built once per test session, and a tiny FaceXModel folder."""

import functools
import json
from pathlib import Path

import numpy as np

from headsplat.heads.ict import parts
from headsplat.heads.ict.build import build_head
from headsplat.heads.ict.source import FaceXModel, read_source
from headsplat.heads.model import HeadModel

ARCHIVE = "assets/ICT-FaceKit-da5f95a.tar.xz"


@functools.cache
def source(shared: Path) -> FaceXModel:
    return read_source(shared / ARCHIVE)


@functools.cache
def head(shared: Path) -> HeadModel:
    return build_head(source(shared))


def shrink(monkeypatch) -> None:
    """Make the importer expect a mesh of five vertices with two identities, one expression."""
    monkeypatch.setattr(parts, "VERTICES", 5)
    monkeypatch.setattr(parts, "POLYGONS", 2)
    monkeypatch.setattr(parts, "IDENTITIES", 2)
    monkeypatch.setattr(parts, "EXPRESSIONS", ("jawOpen",))


FACES = "f 1/1 2/2 3/3 4/4\nusemtl other\nf 3/3 2/2 5/1\n"


def write_tiny(folder: Path, faces: str = FACES) -> dict[str, np.ndarray]:
    """A `FaceXModel/` under `folder` that matches `shrink`; returns the vertices by file."""
    target = folder / "FaceXModel"
    target.mkdir(parents=True)
    rng = np.random.default_rng(7)
    names = [n for n in parts.wanted_files() if n != parts.INDICES]
    vertices = {name: rng.normal(size=(5, 3)).round(4) for name in names}
    for name, points in vertices.items():
        lines = ["# made for a test", "mtllib none.mtl"]
        lines += [f"v {x} {y} {z}" for x, y, z in points]
        lines += [f"vt {u} {1 - u}" for u in (0.0, 0.25, 0.5, 0.75)]
        (target / name).write_text("\n".join(lines) + "\ng part\n" + faces)
    (target / parts.INDICES).write_text(json.dumps({"idx_to_landmark_verts": [0] * 68}))
    (target / "extra.obj").write_text("not read")
    return vertices
