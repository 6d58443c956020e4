"""Reading of ICT-FaceKit from folders, zips and tars."""

import tarfile
import zipfile

import numpy as np
import pytest

from headsplat.heads.ict import parts
from headsplat.heads.ict.mesh import Graph, rim, triangulate
from headsplat.heads.ict.source import read_source
from headsplat.runtime.errors import UserError
from tests.unit import ict_head


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    ict_head.shrink(monkeypatch)
    vertices = ict_head.write_tiny(tmp_path / "ICT-FaceKit")
    return tmp_path / "ICT-FaceKit", vertices


def pack_tar(folder, out):
    with tarfile.open(out, "w:xz") as archive:
        archive.add(folder, arcname="ICT-FaceKit-main")
    return out


def pack_zip(folder, out):
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"ICT/{file.relative_to(folder)}")
    return out


def test_folder_zip_and_tar_read_alike(tiny, tmp_path):
    folder, vertices = tiny
    sources = [
        folder,
        folder / "FaceXModel",
        tmp_path,
        pack_zip(folder, tmp_path / "a.zip"),
        pack_tar(folder, tmp_path / "a.tar.xz"),
    ]
    neutral = vertices[parts.NEUTRAL]
    for path in sources:
        model = read_source(path)
        np.testing.assert_allclose(model.neutral, neutral, atol=1e-6)
        np.testing.assert_allclose(
            model.identities[1], vertices["identity001.obj"] - neutral, atol=1e-5
        )
        np.testing.assert_allclose(
            model.expressions[0], vertices["jawOpen.obj"] - neutral, atol=1e-5
        )
        assert model.polygons.tolist() == [[0, 1, 2, 3], [2, 1, 4, -1]]
        assert model.texture_polygons.tolist() == [[0, 1, 2, 3], [2, 1, 0, -1]]


def test_names_are_arkits_in_ict_order():
    assert len(parts.EXPRESSIONS) == 53
    assert parts.EXPRESSIONS[:2] == ("browDown_L", "browDown_R")
    assert parts.EXPRESSIONS[26] == "jawOpen"
    assert parts.EXPRESSIONS[-1] == "noseSneer_R"


def expect(path, *words):
    with pytest.raises(UserError) as error:
        read_source(path)
    message = str(error.value)
    assert "\n" not in message
    for word in (path.name, *words):
        assert word in message


def test_missing_path_and_folder_without_model(tmp_path):
    expect(tmp_path / "nowhere", "no such file")
    (tmp_path / "empty").mkdir()
    expect(tmp_path / "empty", "no folder FaceXModel")


def test_missing_files_are_named(tiny):
    folder, _ = tiny
    (folder / "FaceXModel" / "jawOpen.obj").unlink()
    expect(folder, "jawOpen.obj is missing")
    (folder / "FaceXModel" / parts.NEUTRAL).unlink()
    expect(folder, parts.NEUTRAL, "and 1 more")


def test_other_topology_is_named(tiny):
    folder, _ = tiny
    file = folder / "FaceXModel" / "identity001.obj"
    text = file.read_text()
    file.write_text(text.replace("f 3/3 2/2 5/1", "f 2/2 3/3 5/1"))
    expect(folder, "identity001.obj", "another topology")
    file.write_text(text.replace("vt 0.0 1.0", "v 0 0 0\nvt 0.0 1.0"))
    expect(folder, "identity001.obj", "6 vertices, expected 5")


@pytest.mark.parametrize(
    ("old", "new"),
    [("v ", "v x"), ("f 1/1", "f 1"), ("vt 0.25 0.75", "vt 0.25"), ("f 1/1 2/2", "f 1/9 2/2")],
)
def test_broken_obj_is_named(tiny, old, new):
    folder, _ = tiny
    file = folder / "FaceXModel" / parts.NEUTRAL
    file.write_text(file.read_text().replace(old, new))
    expect(folder, parts.NEUTRAL)


def test_broken_indices_are_named(tiny):
    folder, _ = tiny
    (folder / "FaceXModel" / parts.INDICES).write_text('{"idx_to_landmark_verts": [1, 2]}')
    expect(folder, parts.INDICES)


def test_truncated_and_foreign_archives(tiny, tmp_path):
    folder, _ = tiny
    for whole in (pack_tar(folder, tmp_path / "a.tar.xz"), pack_zip(folder, tmp_path / "a.zip")):
        data = whole.read_bytes()
        for share in (0.3, 0.9):
            cut = tmp_path / f"cut{whole.suffix}"
            cut.write_bytes(data[: int(share * len(data))])
            expect(cut)
    text = tmp_path / "notes.tar"
    text.write_text("this is no archive\n" * 100)
    expect(text, "zip or tar")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("a")
    expect(pack_zip(tmp_path / "other", tmp_path / "other.zip"), "no folder FaceXModel")


def test_quads_split_along_the_shorter_diagonal():
    vertices = np.array([[0, 0, 0], [2, 1, 0], [0, 2, 0], [-2, 1, 0], [5, 5, 0]], dtype=float)
    polygons = np.array([[0, 1, 2, 3], [1, 4, 2, -1]], dtype=np.int32)
    faces, _, owner = triangulate(polygons, polygons, vertices)
    assert owner.tolist() == [0, 0, 1]
    assert {tuple(sorted(f)) for f in faces[:2].tolist()} == {(0, 1, 2), (0, 2, 3)}
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()


def test_graph_fills_up_to_a_loop():
    size = 9
    grid = np.arange(size * size).reshape(size, size)
    quads = np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], -1)
    quads = quads.reshape(-1, 4)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    row, column = np.divmod(np.arange(size * size), size)
    graph = Graph(faces, np.stack([column, row, 0 * row], 1).astype(float))
    loop = graph.loop(grid[[2, 2, 6, 6], [2, 6, 6, 2]])
    assert len(loop) == len(set(loop.tolist())) == 16
    inside = graph.fill(np.array([grid[4, 4]]), loop).reshape(size, size)
    assert inside[3:6, 3:6].all()
    inside[2:7, 2:7] = False
    assert not inside.any()
    assert len(rim(faces)) == 4 * (size - 1)
