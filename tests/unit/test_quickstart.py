"""The quickstart notebook: its cells run in order, and it is committed without outputs."""

import ast
from pathlib import Path

import av
import nbformat
import numpy as np
import pytest
from PIL import Image

from headsplat.synthetic.head.head import procedural_head
from tests.conftest import ROOT
from tests.unit.driven import SIZE, make_subject

NOTEBOOK = ROOT / "docs/quickstart.ipynb"


def executed(source: str, names: dict) -> object:
    """The value of a cell's last line, as a notebook shows it; None without."""
    body = ast.parse(source, str(NOTEBOOK)).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), str(NOTEBOOK), "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)


@pytest.fixture
def demo(tmp_path, monkeypatch) -> Path:
    """A folder with `results/demo` of the procedural head."""
    model = tmp_path / "results/demo/avatar/model"
    make_subject(model, tmp_path / "head.npz", tmp_path / "track.npz", procedural_head())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_a_clean_notebook():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert 5 <= len(code) <= 8
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert NOTEBOOK.stat().st_size < 20_000


def test_its_cells_run(demo, capsys):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    names: dict = {}
    values = [executed(c.source, names) for c in notebook.cells if c.cell_type == "code"]
    images = [np.asarray(value) for value in values if isinstance(value, Image.Image)]
    assert [image.shape for image in images] == [(SIZE, SIZE, 3), (SIZE, 3 * SIZE, 3)]
    parts = np.split(images[1].astype(int), 3, axis=1)
    assert np.array_equal(parts[0], images[0])
    assert all(np.abs(part - parts[0]).max() > 20 for part in parts[1:])
    assert "300 Gaussians on " in capsys.readouterr().out
    for name, count in (("quickstart.mp4", 12), ("driven.mp4", 38)):
        with av.open(str(demo / name)) as video:
            assert sum(1 for _ in video.decode(video=0)) == count
