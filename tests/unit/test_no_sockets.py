"""Detection and matting open no socket, in Python or in native code."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from headsplat.frames.images import encode_jpeg
from headsplat.frames.packs import FrameZipWriter
from headsplat.runtime.files import publish, read_npz
from tests.conftest import PYTHON_PATH, ROOT
from tests.unit.face_video import SPEED, moved_face, write_face_video
from tests.unit.test_detect_mediapipe import needs_mediapipe
from tests.unit.without_sockets import KILLED, MACHINES

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in MACHINES,
    reason="the filter of system calls is written for Linux on x86-64 and ARM",
)


def run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tests/unit/without_sockets.py", script, *arguments]
    environment = os.environ | {"PYTHONPATH": PYTHON_PATH}
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    "code",
    [
        "import ctypes\nctypes.CDLL(None).socket(2, 1, 0)",
        "import subprocess, sys\nsys.exit(subprocess.run([sys.executable, '-c', "
        "'import socket; socket.socket()']).returncode)",
        "import ctypes, threading\n"
        "t = threading.Thread(target=lambda: ctypes.CDLL(None).syscall(425, 8, 0))\n"
        "t.start()\nt.join()",
    ],
)
def test_the_filter_sees_native_calls_threads_and_children(tmp_path: Path, code: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(code)
    assert run(script).returncode in (KILLED, KILLED % 256)
    script.write_text("print('alive')")
    assert run(script).stdout == "alive\n"


@pytest.mark.parametrize("model", ["litert", pytest.param("mediapipe", marks=needs_mediapipe)])
def test_detection_opens_none(tmp_path: Path, model: str) -> None:
    video, info = write_face_video(tmp_path, 51)
    script, out = ROOT / "workflow_scripts/detect_chunk.py", tmp_path / "0.npz"
    flags = ("--chunk=0", "--chunks=1", f"--model={model}", "--second=none", f"--out={out}")
    result = run(script, f"--video={video}", f"--info={info}", *flags)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert len(read_npz(out)["blendshapes"]) == 51


def test_matting_opens_none(tmp_path: Path) -> None:
    frames, out = tmp_path / "000.zip", tmp_path / "alpha.zip"
    with publish(frames) as temporary, FrameZipWriter(temporary, ".jpg") as pack:
        for k in range(3):
            pack.add(k + 1, encode_jpeg(moved_face(SPEED * k, 0, (256, 256))))
    script = ROOT / "workflow_scripts/matte_chunk.py"
    result = run(script, f"--frames={frames}", "--chunk=000", "--model=mediapipe", f"--out={out}")
    assert result.returncode == 0, result.stderr
    assert out.exists()
