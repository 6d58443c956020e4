"""The installed wheel works outside of a checkout; compiles the operators once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.unit.driven import SIZE, arkit_like, make_subject
from tests.unit.package_files import build_wheel


class Installed:
    """The wheel in a folder of its own, first on this interpreter's path."""

    def __init__(self, folder: Path):
        self.site, self.cache, self.elsewhere = (folder / n for n in ("site", "cache", "elsewhere"))
        self.elsewhere.mkdir()
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        wheel = build_wheel(folder / "wheel")
        subprocess.run([*pip, "--no-deps", "--target", self.site, wheel], check=True)

    def run(self, *command: object) -> str:
        environment = {key: value for key, value in os.environ.items() if key[:9] != "HEADSPLAT"}
        environment |= {"PYTHONPATH": str(self.site), "XDG_CACHE_HOME": str(self.cache)}
        result = subprocess.run(
            [str(word) for word in command], cwd=self.elsewhere, env=environment,
            capture_output=True, text=True,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("installed"))


def test_wheel_renders_an_image_outside_of_a_checkout(installed: Installed, tmp_path: Path) -> None:
    ball = make_subject(tmp_path / "ball", tmp_path / "h.npz", tmp_path / "t.npz", arkit_like())
    code = (
        "import headsplat\nprint(headsplat.__file__)\n"
        f"avatar = headsplat.load_avatar({str(ball.avatar)!r})\n"
        f"track = headsplat.load_track({str(ball.track)!r})\n"
        "image = avatar.render(track[0])\nprint(tuple(image.shape), image.std() > 0.05)\n"
    )
    said = installed.run(sys.executable, "-c", code)
    assert str(installed.site / "headsplat/__init__.py") in said
    assert f"({SIZE}, {SIZE}, 3)" in said
    assert "True" in said
    built = list((installed.cache / "headsplat/cuda_ext").glob("*/headsplat_ops.so"))
    assert len(built) == 1
    # The build is cached: the console command renders with it, and the doctor finds it.
    out = tmp_path / "a.png"
    words = ("render", ball.avatar, "--frames", 1, "-o", out)
    said = installed.run(sys.executable, installed.site / "bin/headsplat", *words)
    assert "compiling" not in said
    assert out.is_file()
    said = installed.run(sys.executable, installed.site / "bin/headsplat", "doctor")
    assert "one Gaussian drawn, its pixel is right" in said
    assert list((installed.cache / "headsplat/cuda_ext").glob("*/headsplat_ops.so")) == built


def test_prebuilt_operators_need_no_compiler(installed: Installed, tmp_path: Path) -> None:
    """What `make wheel` builds, beside the library, on a machine without compilers."""
    source = installed.site.parent / "wheel/source/cuda_ext"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path]
    subprocess.run([*pip, *words, source], check=True)
    (wheel,) = tmp_path.glob("headsplat_cuda_ext-*.whl")
    assert f"-1torch{torch.__version__.replace('+', '.')}-py3-none-linux" in wheel.name
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", site, wheel], check=True)
    code = (
        "from headsplat.doctor.operators import draw_one\n"
        "from headsplat.gaussians.raster import extension\n"
        "center, corner = draw_one('cpu')\n"
        "print(extension.load()['library'], bool((center - 0.75 * 0.8).abs()[2] < 1e-3))\n"
    )
    environment = {
        "PATH": str(tmp_path), "CXX": "none", "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(site), str(installed.site)]),
    }  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert run.stdout.split() == [str(site / "headsplat_cuda_ext/headsplat_ops.so"), "True"]


def test_console_command_prints_version_and_help(installed: Installed) -> None:
    assert "headsplat 0.2.0" in installed.run(
        sys.executable, installed.site / "bin/headsplat", "--version"
    )
