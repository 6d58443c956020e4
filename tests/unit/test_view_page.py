"""The viewer's page in chromium: timeline, panes, and what it does while a run goes on."""

import asyncio
import base64
import io
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from headsplat.avatar_files import load_avatar
from headsplat.heads.model import HeadModel
from headsplat.runtime.files import write_json
from headsplat.track import read_track
from headsplat.train.checkpoint import State, save_state
from headsplat.train.options import train_options
from headsplat.train.prepare import empty_avatar
from headsplat.view.files import project_files
from tests.browser import Browser, needs_chromium
from tests.unit.driven import SIZE
from tests.unit.view_subject import FRAMES, PARTS, make_project, running

pytestmark = needs_chromium
WIDE, HIGH = 900, 620
READY = (
    "!document.getElementById('timeline').hidden && document.getElementById('waiting').hidden "
    "&& document.getElementById('title').textContent === 'anna'"
)
FACTS = "document.getElementById('frame-facts').textContent"


@pytest.fixture(scope="module")
def browser():
    with Browser() as made:
        yield made


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def server(project):
    with running(project) as made:
        yield made


@pytest.fixture(scope="module")
def page(browser, server):
    made = browser.page(server.server.address, WIDE, HIGH)
    made.until(READY)
    return made


def click(page, name):
    page.run(f"document.getElementById({json.dumps(name)}).click()")


def pixels(page, selector):
    """(H, W, 4) of a canvas that is drawn in two dimensions."""
    address = page.run(f"document.querySelector({json.dumps(selector)}).toDataURL()")
    image = Image.open(io.BytesIO(base64.b64decode(address.split(",")[1])))
    return np.asarray(image.convert("RGBA"))


def says(page, selector, text):
    """Wait until an element has a text."""
    page.until(f"document.querySelector({json.dumps(selector)}).textContent === {json.dumps(text)}")


def rest(page, seconds=0.3):
    page.browser.wait(asyncio.sleep(seconds))


def test_the_timeline_is_colored_by_split_and_chooses_frames(page):
    strip = pixels(page, "#strip")
    colors = {
        name: page.run(
            "(() => { const c = document.createElement('canvas').getContext('2d'); c.fillStyle = "
            f"getComputedStyle(document.getElementById('timeline')).getPropertyValue('--{name}'); "
            "c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data]; })()"
        )
        for name in PARTS
    }
    for name, ids in PARTS.items():
        for frame in ids:
            column = int((frame - 0.5) / FRAMES * strip.shape[1])
            assert strip[6, column].tolist() == colors[name], frame
    click(page, "worst")
    page.until(f"{FACTS}.startsWith('Frame 7 ')")
    assert "held out" in page.run(FACTS)
    assert "PSNR of the head 24.3 dB" in page.run(FACTS)
    page.run("document.getElementById('strip').focus()")
    page.press("ArrowLeft", 2)
    page.until(f"{FACTS}.startsWith('Frame 5 ')")
    assert "guard" in page.run(FACTS)
    worst = page.run("document.querySelectorAll('#worst-frames button')[1].textContent")
    assert worst == "Frame 6: 31.5 dB"
    # The avatar shows the same frame.
    click(page, "worst")
    page.until("document.getElementById('position').valueAsNumber === 0.24")


def test_the_mesh_lies_over_the_image(page):
    click(page, "tab-track")
    click(page, "worst")
    page.until("document.querySelector('#pane-track .picture').width === 2 * 48")
    rest(page, 1)
    picture = pixels(page, "#pane-track .picture")
    assert abs(int(picture[5, 5, 2]) - 70) < 12  # blue of frame 7
    assert (pixels(page, "#pane-track .marks")[..., 3] > 0).any()
    box = page.run(
        "(() => { const b = document.querySelector('#pane-track .box').getBoundingClientRect(); "
        "return [b.left, b.top, b.right, b.bottom].map(Math.round); })()"
    )
    shots = []
    for opacity in (0, 1):
        page.run(
            "document.getElementById('wires').checked = false; "
            f"(() => {{ const e = document.getElementById('mesh-opacity'); e.value = {opacity}; "
            "e.dispatchEvent(new Event('input')); })()"
        )
        rest(page)
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB").crop(box)
        shots.append(np.asarray(shot).astype(int))
    changed = np.abs(shots[1] - shots[0]).sum(2) > 60
    high, wide = changed.shape
    assert changed[high // 2 - 20, wide // 2]  # the sphere is in front of the camera
    assert not changed[3, 3]
    assert 0.1 < changed.mean() < 0.9


def test_the_render_is_the_library_s_and_the_difference_is_shown(page, project):
    click(page, "tab-compare")
    click(page, "worst")
    page.until("/PSNR/.test(document.querySelector('#pane-compare .note').textContent)")
    truth = pixels(page, "canvas.truth").astype(int)
    assert truth[: SIZE // 4, :, :3].max() == 0  # beyond the matte
    assert abs(truth[SIZE // 2 + 5, 5, 2] - 70) < 12
    avatar = load_avatar(project.files["model/avatar.json"].parent, device="cpu")
    track = read_track(project.files["track"])
    with torch.no_grad():
        expected = avatar.render(track[6], (0, 0, 0)).numpy() * 255
    render = pixels(page, "canvas.render")[..., :3].astype(float)
    assert expected.max() > 50
    assert 10 * np.log10(255**2 / ((render - expected) ** 2).mean()) > 40
    shown = pixels(page, "canvas.difference").astype(int)
    apart = np.abs(render - truth[..., :3]).max(2)
    assert shown[apart < 1, :3].sum(-1).max(initial=0) < 60
    assert shown[apart > 64, :3].sum(-1).min() > 600


def test_cameras_turn_by_keys_and_a_click_chooses_one(page):
    click(page, "tab-cameras")
    rest(page, 1)
    before = pixels(page, "#cameras")
    assert len(np.unique(before.reshape(-1, 4), axis=0)) > 10
    page.run("document.getElementById('cameras').focus()")
    page.press("ArrowRight", 3)
    assert (pixels(page, "#cameras") != before).any()
    chosen = set()
    box = page.run(
        "(() => { const b = document.getElementById('cameras').getBoundingClientRect(); "
        "return [b.left, b.top, b.width, b.height]; })()"
    )
    for x in np.linspace(0.05, 0.95, 12):
        for y in np.linspace(0.05, 0.95, 8):
            at = float(box[0] + x * box[2]), float(box[1] + y * box[3])
            page.mouse("mousePressed", *at)
            page.mouse("mouseReleased", *at)
            chosen.add(page.run(FACTS).split(" ")[1])
    assert len(chosen) > 2


def test_a_phone_has_no_sideways_scrolling(browser, server):
    phone = browser.page(server.server.address, 390, 800)
    phone.until(READY)
    for tab in ("avatar", "track", "compare", "cameras"):
        click(phone, f"tab-{tab}")
        rest(phone, 0.1)
        assert phone.run("document.documentElement.scrollWidth <= innerWidth")
    assert phone.problems == []


def test_nothing_is_asked_of_others_and_nothing_is_blocked(page, server):
    own = f"http://127.0.0.1:{server.port}/"
    assert all(address.startswith((own, "data:", "blob:")) for address in page.requests)
    assert not any("token=" in address for address in page.requests[2:])
    assert page.run("location.href") == own
    assert page.run("document.cookie") == ""
    assert page.problems == []


def training_state(files, step, seed):
    """Save a state as the training does."""
    options = train_options(gaussians=400, bases=2, steps=1000)
    folder = files.folders["training"][0] / "0123456789abcdef"
    folder.mkdir(parents=True, exist_ok=True)
    key = {"inputs": {}, "parameters": options.values() | {"device": "cpu"}, "code": "0"}
    write_json(folder / "key.json", key)
    track, head = read_track(files.files["track"]), HeadModel.load(files.listed("heads")[0])
    avatar = empty_avatar(head, track, track.rows(PARTS["train"]), options, torch.device("cpu"))
    torch.manual_seed(seed)
    with torch.no_grad():
        _, quat, scale, opacity, color = avatar.deformation._split(avatar.deformation.weights[0])
        quat[:, 0], opacity[:] = 50, 60
        scale.fill_(-250)
        color.copy_(100 * torch.rand(color.shape))
    none = torch.zeros(0)
    save_state(folder, State(step, 1.0, avatar.deformation.state_dict(), {}, none, none))


def test_a_run_is_followed_from_its_images_to_its_avatar(browser, tmp_path):
    make_project(tmp_path / "whole")
    files = project_files(tmp_path / "run", "anna")
    work, there = tmp_path / "run/work/anna", tmp_path / "whole/work/anna"
    work.mkdir(parents=True)

    def bring(*names):
        for name in names:
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(there / name, work / name)

    bring("frames.tsv", "frames/000.zip")
    with running(files) as server:
        page = browser.page(server.server.address, WIDE, HIGH)
        page.until("!document.getElementById('timeline').hidden")
        says(page, "#waiting", "There is no avatar yet.")
        click(page, "tab-track")
        page.until("document.querySelector('#pane-track .picture').width === 2 * 48")
        says(page, "#pane-track .note", "Not tracked yet")
        shutil.copytree(tmp_path / "whole/work/heads", tmp_path / "run/work/heads")
        bring("track/track.npz", "landmarks.npz", "crop.json", "split.json")
        says(page, "#pane-track .note", "")
        bring("alpha/000.zip", "parsing/000.zip")
        training_state(files, 147, 0)
        says(page, "#training", "Training: step 147 of 1000")
        click(page, "tab-compare")
        page.until("/PSNR/.test(document.querySelector('#pane-compare .note').textContent)")
        first = pixels(page, "canvas.render")
        training_state(files, 300, 1)
        says(page, "#training", "Training: step 300 of 1000")
        rest(page, 1)
        assert (pixels(page, "canvas.render") != first).any()
        shutil.copytree(
            tmp_path / "whole/results", tmp_path / "run/results", copy_function=shutil.copy
        )
        says(page, "#training", "")
        assert page.problems == []
