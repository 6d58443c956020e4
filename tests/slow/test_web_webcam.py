"""A real face in the page's webcam, found by MediaPipe's package for browsers.

The package is not installed by this project: set TASKS_VISION to the file that
`npm pack @mediapipe/tasks-vision@0.10.35` writes.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from headsplat.formats.arkit.names import BLENDSHAPES
from headsplat.networks.model_files import model_file
from headsplat.runtime.errors import UserError
from headsplat.web.page_file import html_file
from headsplat.web.webcam import webcam_files
from tests.browser import Browser, needs_chromium
from tests.unit.web_page import served, small_payload

PACKAGE = os.environ.get("TASKS_VISION", "")
pytestmark = [
    needs_chromium,
    pytest.mark.skipif(not Path(PACKAGE).is_file(), reason="TASKS_VISION names no package"),
    pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed"),
]


@pytest.fixture(scope="module")
def model():
    try:
        return model_file("face_landmarker.task")
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def browser(shared, tmp_path_factory):
    """A browser whose camera shows six seconds of a real clip, again and again."""
    clip = tmp_path_factory.mktemp("camera") / "face.y4m"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-ss", "1", "-t", "6", "-i",
         str(shared / "data/videos/talking_512p25.mp4"), "-vf", "scale=400:400",
         "-pix_fmt", "yuv420p", "-an", str(clip)],
        check=True,
    )  # fmt: skip
    flags = [
        "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={clip}",
    ]  # fmt: skip
    with Browser(flags) as started:
        yield started


@pytest.fixture(scope="module")
def page(browser):
    opened = browser.page(browser.serve(served(small_payload())))
    opened.until("window.app && app.frame")
    return opened


def test_a_real_face_moves_the_avatar(page, model):
    page.choose("#choose", PACKAGE, model)
    page.until("!document.getElementById('camera').disabled")
    page.run("document.getElementById('camera').click()")
    page.until("app.transport.source === 'webcam'")
    page.run("app.seen = []")
    page.run(
        """(() => { const performer = app.live.performers.webcam;
        const frame = performer.frame.bind(performer);
        performer.frame = (row, angles, time) => {
          app.seen.push([...row, ...angles]);
          return frame(row, angles, time);
        }; })()"""
    )
    page.until("app.seen.length > 60 && !app.live.performers.webcam.calibration.running", 240)
    seen = np.array(page.run("app.seen"))
    assert seen[:, :52].min() >= 0
    assert seen[:, :52].max() <= 1
    # The person turns the head by more than half a radian, and looks to the camera in between.
    assert np.abs(seen[:, 52:]).max() < 0.9
    assert np.ptp(seen[:, 52]) > 0.3
    assert np.ptp(seen[:, BLENDSHAPES.index("JawOpen")]) > 0.05
    assert page.run("document.getElementById('tracking').textContent") == (
        "Your face moves the avatar."
    )
    assert page.run("Array.from(app.frame.code).every(Number.isFinite)")
    # The page talks to its own server only.
    assert all(r.split(":")[0] in ("http", "blob", "data") for r in page.requests)
    hosts = {r.split("/")[2].split(":")[0] for r in page.requests if r.startswith("http")}
    assert hosts == {"127.0.0.1"}


def test_the_camera_stops(page, model):
    page.run("document.getElementById('camera').click()")
    page.until("!app.live.webcam.running")
    assert page.run("document.getElementById('preview').srcObject === null")
    assert page.run("document.getElementById('preview').hidden")


@pytest.mark.parametrize("held", [True, False])
def test_a_page_that_is_one_file_tracks_a_face_without_any_request(browser, model, tmp_path, held):
    data = webcam_files(Path(PACKAGE)) if held else {}
    assert sum(map(len, data.values())) < 9e6
    path = tmp_path / "anna.html"
    path.write_text(html_file("anna", small_payload(), {"files": list(data)}, data))
    page = browser.page(path.as_uri())
    page.until("document.getElementById('waiting').hidden")
    if not held:
        page.choose("#choose", PACKAGE, model)
    page.until("!document.getElementById('camera').disabled")
    page.run("document.getElementById('camera').click()")
    page.until(
        "document.getElementById('tracking').textContent === 'Your face moves the avatar.'", 120
    )
    assert page.run("document.getElementById('problem').hidden")
    assert [r for r in page.requests if not r.startswith(("blob:", "data:", "file:"))] == []
    page.close()
