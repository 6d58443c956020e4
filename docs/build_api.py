"""Builds the API reference from the docstrings of the library: `make docs`.

    python docs/build_api.py [docs/api]

pdoc lists what a module's dictionary holds. The library's public names are imported on first use,
so they are fetched first.
"""

import importlib
import sys
from pathlib import Path

import pdoc

ROOT = Path(__file__).resolve().parents[1]


def build(package: str, out: Path) -> None:
    """Write a page for each module of an importable package into the folder `out`."""
    module = importlib.import_module(package)
    public = getattr(module, "__all__", ())
    vars(module).update({name: getattr(module, name) for name in public})
    pdoc.render.configure(docformat="google")
    pdoc.pdoc(package, output_directory=out)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    build("headsplat", Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/api")
