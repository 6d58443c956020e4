"""OBJ meshes: reading and refusals."""

import numpy as np
import pytest

from headsplat.heads.wavefront import face_block, parse_faces, read_textured_mesh
from headsplat.runtime.errors import UserError

POINTS = "v 0 0 0\nv 1.5 0 0\nv 0 -2e-1 0\nv 1 1 1\n"
TEXTURE = "vt 0 0\nvt 1 0.25\nvt 0 1\n"


def mesh(tmp_path, faces: str, points: str = POINTS, texture: str = TEXTURE):
    path = tmp_path / "mesh.obj"
    path.write_text(f"# comment\nmtllib a.mtl\n{points}{texture}usemtl skin\n{faces}")
    return read_textured_mesh(path)


@pytest.mark.parametrize(
    "faces",
    ["f 1/1 2/2 4/3\nf 3/1 2/2 1/3", "f 1/1/9 2/2/9 4/3/9\r\n#\r\nf 3/1/1 2/2/1 1/3/1\r\n"],
)
def test_triangles_with_and_without_normals(tmp_path, faces):
    found = mesh(tmp_path, faces)
    np.testing.assert_array_equal(found.faces, [[0, 1, 3], [2, 1, 0]])
    np.testing.assert_array_equal(found.uv_faces, [[0, 1, 2], [0, 1, 2]])
    np.testing.assert_array_equal(found.vertices[1], np.float32([1.5, 0, 0]))
    np.testing.assert_array_equal(found.vertices[2], np.float32([0, -0.2, 0]))
    assert found.uv[1].tolist() == [1, 0.25]
    assert found.faces.dtype == found.uv_faces.dtype == np.int32


def test_polygons_of_three_and_four_corners():
    polygons, texture = parse_faces(face_block(b"f 1/1 2/2 3/3\nf 3/3 2/2 5/1 4/1\n"))
    assert polygons.tolist() == [[0, 1, 2, -1], [2, 1, 4, 3]]
    assert texture.tolist() == [[0, 1, 2, -1], [2, 1, 0, 0]]


@pytest.mark.parametrize(
    "faces",
    [
        "f 1 2 3", "f 1//1 2//2 3//3", "f 1/1/1 2 3/3", "f 1/1 2/2", "f 1/1 2/2 3/3 4/3 1/1",
        "f 1/1 2/2 3/3 4/3", "f 1/1 2/2 3/", "f /1 2/2 3/3", "f -1/1 2/2 3/3", "f 1/1 2/2 x/3",
        "f 1/1 2/2 3/3\nf 1/1/1 2/2/2 3/3/3", "f 0/1 2/2 3/3", "f 1/1 2/2 5/3", "f 1/1 2/2 3/4",
        "f 1/1 2/2 3/99999999999", "f 1/1 2/2 3/3 \\\n", "",
    ],
)  # fmt: skip
def test_other_faces_are_refused(tmp_path, faces):
    with pytest.raises(UserError, match=r"mesh.obj: .*; download it again"):
        mesh(tmp_path, faces)


@pytest.mark.parametrize("points", ["", "v 0 0\n" * 4, POINTS + "v 1 2\n", POINTS + "v 1 2 x\n"])
def test_other_vertices_are_refused(tmp_path, points):
    with pytest.raises(UserError, match=r"mesh.obj: not a triangle mesh \(.*; download it again"):
        mesh(tmp_path, "f 1/1 2/2 3/3", points)
