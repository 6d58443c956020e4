"""The API reference; its tool is not among the pins of the workflow."""

import pytest

from tests.unit.pages import ROOT

pytest.importorskip("pdoc", reason="pdoc is not installed; make docs installs it")

LAZY = '''"""A package whose names are imported on first use."""
import importlib

__all__ = ["load"]


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(name)
    return getattr(importlib.import_module("lazy_package.parts"), name)
'''
PARTS = '''"""Parts."""


def load(path: str) -> int:
    """Read a thing.

    Args:
        path: of the thing.
    """
    return len(path)
'''


def test_names_that_are_imported_on_first_use_have_an_entry(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "lazy_package"
    package.mkdir()
    (package / "__init__.py").write_text(LAZY)
    (package / "parts.py").write_text(PARTS)
    import build_api

    build_api.build("lazy_package", tmp_path / "out")
    page = (tmp_path / "out/lazy_package.html").read_text()
    assert "Read a thing." in page
    assert "of the thing" in page
