"""Clang with and without OpenMP, systems without Linux's calls, machines without compilers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import PYTHON_PATH, ROOT
from tests.unit.test_system import pytest_without_detector

WITHOUT_LINUX = str(ROOT / "tests/without_linux")
# Values of the operators and their gradients, into an npz.
VALUES = """
import sys, numpy, torch
from headsplat.gaussians.raster.gaussians import rasterize_gaussians
from tests.oracles import deformation, image_loss
from tests.oracles.gaussian_check import ORDER, gradients_of
from tests.oracles.gaussian_scenes import scenes
from headsplat.train import losses
found = {}
for name, one in scenes().items():
    color, alpha = rasterize_gaussians(*(one[key] for key in ORDER))
    found |= {f"{name} color": color, f"{name} alpha": alpha}
    weights = torch.cos(torch.arange(color.numel())).view_as(color), torch.ones_like(alpha)
    gradients = gradients_of(rasterize_gaussians, one, weights)
    found |= {f"{name} d {key}": value for key, value in gradients.items()}
for name, (operator, _, differentiable) in deformation.OPERATORS.items():
    inputs = deformation.scene(name, 17, 130)
    values, slopes = deformation.values_and_gradients(operator, inputs, differentiable)
    found |= {f"{name} {k}": value for k, value in enumerate([*values, *slopes])}
inputs = image_loss.scene(0, 64, 80)
pair = image_loss.loss_and_gradient(losses.image_loss, image_loss.SCALE, *inputs.values())
found |= {"loss": pair[0], "loss gradient": pair[1]}
numpy.savez(sys.argv[1], **{k: v.detach().numpy() for k, v in found.items() if v is not None})
"""


def values(folder: Path, compiler: str) -> dict[str, np.ndarray]:
    """What the operators compute when `compiler` has made them."""
    folder.mkdir()
    environment = os.environ | {"CXX": compiler, "HEADSPLAT_EXT_DIR": str(folder)}
    command = [sys.executable, "-c", VALUES, str(folder / "values.npz")]
    subprocess.run(command, check=True, env=environment | {"PYTHONPATH": PYTHON_PATH})
    with np.load(folder / "values.npz") as found:
        return dict(found)


@pytest.mark.skipif(shutil.which("clang++") is None, reason="there is no clang++ here")
def test_clang_with_and_without_openmp_computes_what_gcc_does(tmp_path: Path) -> None:
    gcc = values(tmp_path / "gcc", "g++")
    clang = values(tmp_path / "clang", "clang++")
    plain = tmp_path / "clang-without-openmp"
    plain.write_text(
        '#!/bin/sh\ncase " $* " in *" -fopenmp "*) echo "error: -fopenmp" >&2; exit 1;; esac\n'
        'exec clang++ "$@"\n'
    )
    plain.chmod(0o755)
    serial = values(tmp_path / "serial", str(plain))
    facts = [next((tmp_path / name).glob("*/*.json")).read_text() for name in ("clang", "serial")]
    assert '"openmp": false' in facts[1]
    assert len(gcc) > 200
    for key, expected in gcc.items():
        np.testing.assert_array_equal(clang[key], serial[key], err_msg=key)
        size = np.abs(expected).max(initial=1e-30)
        np.testing.assert_allclose(clang[key], expected, rtol=1e-5, atol=1e-6 * size, err_msg=key)


def test_stages_run_and_end_without_linuxs_calls() -> None:
    """Signals, run locks, GPU claims and memory limits, tested where none of these calls exist."""
    names = ("stopping", "run_checks", "gpu_claim", "watchdog", "scratch", "raster_triangles")
    files = [str(ROOT / "tests/unit" / f"test_{name}.py") for name in names]
    environment = os.environ | {"PYTHONPATH": WITHOUT_LINUX}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]


def test_a_track_is_drawn_where_proc_is_hidden(tmp_path: Path) -> None:
    """A mount namespace with an empty /proc: no child can be listed, but all else works."""
    hide = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*hide, "true"]).returncode:
        pytest.skip("this machine lets this user hide /proc from no process")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    files = [str(ROOT / "tests/unit" / f"test_{name}.py") for name in ("render", "run_checks")]
    environment = os.environ | {"PYTHONPATH": WITHOUT_LINUX}
    run = subprocess.run(
        [*hide, *command, *files], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-3000:]


def test_a_network_makes_mattes_without_a_detector_and_without_contrib(tmp_path: Path) -> None:
    run = pytest_without_detector(tmp_path, "test_chunks", "test_networks_rvm.py")
    assert run.returncode == 0, run.stdout[-3000:]
    assert "1 passed" in run.stdout
