"""Head model files: saving, loading, and validation."""

from dataclasses import replace

import numpy as np
import pytest

from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz, write_npz
from tests.unit.toy_head import toy_head


def test_save_and_load_return_the_same_model(tmp_path):
    model = replace(toy_head(), expression_names=("a", "b", "c", "d", "e"))
    model.save(tmp_path / "head.npz")
    again = HeadModel.load(tmp_path / "head.npz")
    assert (again.name, again.version, again.licence) == ("toy", "1", "MIT")
    assert again.expression_names == model.expression_names
    assert again.albedo is None
    for key in ("template", "shape_basis", "pose_basis", "uv", "faces", "skinning"):
        np.testing.assert_array_equal(getattr(again, key), getattr(model, key))
    for key, value in model.landmarks.items():
        np.testing.assert_array_equal(again.landmarks[key].face, value.face)
        np.testing.assert_array_equal(again.landmarks[key].corners, model.faces[value.face])
    assert set(again.regions) == set(model.regions)


@pytest.mark.parametrize(
    ("key", "change", "words"),
    [
        ("skinning", lambda a: a[:-1], r"'skinning' has shape \[39, 5\], expected \[V=40, J=5\]"),
        ("skinning", lambda a: a * 2, "'skinning' has rows that sum to 1 .* expected 1"),
        (
            "template",
            lambda a: a.astype(np.float64),
            "'template' has type float64, expected float32",
        ),
        ("template", lambda a: a * np.nan, "'template' has values that are not finite"),
        ("faces", lambda a: a + 5, r"'faces' numbers rows of 'template' outside 0\.\.39"),
        ("regions/lips", lambda a: a + 99, r"'regions/lips' numbers rows of 'template'"),
        ("regions/lips", lambda a: a[None], r"'regions/lips' has shape \[1, 3\], expected \[n\]"),
        (
            "pose_basis",
            lambda a: a[..., :9],
            r"'pose_basis' has shape \[40, 3, 9\], expected .* 36",
        ),
        ("landmarks/contour/face", lambda a: a[:3], r"shape \[3, 17\], expected \[79, 17\]"),
        ("parents", lambda a: np.zeros_like(a), r"'parents' is \[0, 0, 0, 0, 0\], expected \[-1"),
        ("expression_names", lambda a: np.array(["x"]), "'expression_names' has 1 names for E=5"),
        ("shape_std", lambda a: None, "'shape_std' is missing"),
    ],
)
def test_a_broken_array_is_named_with_its_file(tmp_path, key, change, words):
    toy_head().save(tmp_path / "head.npz")
    arrays = read_npz(tmp_path / "head.npz")
    arrays[key] = change(arrays[key])
    write_npz(tmp_path / "bad.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(UserError, match=rf"bad\.npz: head model array .*{words}"):
        HeadModel.load(tmp_path / "bad.npz")


def test_an_invalid_model_is_not_published(tmp_path):
    model = toy_head()
    with pytest.raises(UserError, match="'uv_faces'"):
        replace(model, uv_faces=model.uv_faces[:4]).save(tmp_path / "head.npz")
    assert not list(tmp_path.iterdir())
