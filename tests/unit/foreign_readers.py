"""Other people's readers of exported files; tests skip where they are not installed."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

_VALIDATE = """
const read = require('gltf-validator').validateBytes;
read(new Uint8Array(require('fs').readFileSync(process.argv[1])))
  .then(report => console.log(JSON.stringify(report.issues)));
"""


def gltf_issues(path: Path) -> list[dict]:
    """What Khronos' validator says about a file; it is found by NODE_PATH."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    done = subprocess.run([node, "-e", _VALIDATE, str(path)], capture_output=True, text=True)
    if "Cannot find module" in done.stderr:
        pytest.skip("the npm package gltf-validator is not in NODE_PATH")
    return json.loads(done.stdout)["messages"]


def to_ply(path: Path, out: Path) -> Path:
    """Convert Gaussians to PLY by PlayCanvas' splat-transform."""
    tool = shutil.which("splat-transform")
    if tool is None:
        pytest.skip("splat-transform is not installed")
    subprocess.run([tool, "-w", str(path), str(out)], capture_output=True, check=True, timeout=60)
    return out
