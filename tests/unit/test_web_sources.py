"""What moves the avatar of the page: sound, stream and webcam, and what may fail."""

import asyncio
import io
import struct
import tarfile

import numpy as np
import pytest
from aiohttp import web

from headsplat.formats.arkit.names import BLENDSHAPES
from headsplat.networks.model_files import MODEL_FILES
from tests.browser import Browser, needs_chromium
from tests.unit.driven import ARKIT_SHAPES
from tests.unit.web_page import (
    FOLDER,
    READY,
    SUBJECT,
    TRACK,
    served,
    settled,
    shown,
    small_payload,
    trouble,
    write_tone,
)

pytestmark = needs_chromium
SMILE = ARKIT_SHAPES.index("mouthSmile_L")


@pytest.fixture(scope="module")
def address(browser):
    return browser.serve(served(small_payload()))


@pytest.fixture
def page(browser, address):
    opened = browser.page(address)
    opened.until(READY)
    yield opened
    opened.close()
    assert opened.problems == []


@pytest.fixture(scope="module")
def sounding(browser, tmp_path_factory):
    """A page whose motion has a sound of two seconds."""
    sound = write_tone(tmp_path_factory.mktemp("sound") / "tone.wav")
    return browser.serve(served(small_payload(sound)))


def test_the_sound_is_the_clock(browser, sounding):
    page = browser.page(sounding)
    page.until(READY)
    page.run("document.getElementById('play').click()")
    page.until("app.transport.player.audio.currentTime > 0.1")
    late = page.run(
        """new Promise((done) => {
          const late = [];
          app.watch(({ time }) => {
            late.push(Math.abs(time - app.transport.player.audio.currentTime));
            if (late.length === 20) done(late);
          });
        })"""
    )
    assert max(late) < 1 / TRACK.fps
    # Half the speed, for both.
    page.run(
        """(() => { const tempo = document.getElementById('tempo');
        tempo.value = '0.5'; tempo.dispatchEvent(new Event('change')); })()"""
    )
    assert page.run("app.transport.player.audio.playbackRate") == 0.5
    page.run("document.getElementById('audible').click()")
    assert page.run("app.transport.player.audio.muted")
    page.run(
        """(() => { const place = document.getElementById('position');
        place.value = 1.5; place.dispatchEvent(new Event('input')); })()"""
    )
    assert page.run("Math.abs(app.transport.player.time - 1.5)") < 0.2
    assert page.run("app.transport.player.playing")
    page.run("document.getElementById('play').click()")
    page.until("app.transport.player.audio.paused")
    assert page.run("app.transport.player.time") >= 1.5
    assert page.problems == []
    page.close()


def test_playback_repeats_or_ends(browser, sounding):
    page = browser.page(sounding)
    page.until(READY)
    page.run("document.getElementById('play').click()")
    page.run("app.transport.player.seek(1.9)")
    page.until("app.transport.player.time < 1")
    assert page.run("app.transport.player.playing")
    page.run("document.getElementById('loop').click()")
    page.run("app.transport.player.seek(1.9)")
    page.until("!app.transport.player.playing")
    assert page.run("app.transport.player.time") == pytest.approx(2)
    assert shown(page, "time") == "0:02 / 0:02"
    page.run("document.getElementById('play').click()")
    page.until("app.transport.player.time > 0.05 && app.transport.player.time < 1.5")
    assert page.problems == []
    page.close()


def message(row=None, angles=None, flags=3, sequence=1, magic=b"HSLV"):
    row = np.zeros(52) if row is None else row
    angles = np.zeros(9) if angles is None else angles
    return struct.pack("<4sIIdI61f", magic, 1, sequence, sequence / 60, flags, *row, *angles)


@pytest.fixture
def sender(browser):
    """A stream: its address, texts that it received, and a function that sends bytes."""
    sockets, texts = [], []

    async def stream(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sockets.append(socket)
        async for received in socket:
            texts.append(received.data)
        return socket

    application = web.Application()
    application.router.add_get("/stream", stream)
    address = browser.serve(application).replace("http", "ws") + "/stream"

    def send(data):
        browser.wait(sockets[-1].send_bytes(data))

    return address, texts, send, sockets


def test_a_stream_moves_the_avatar(page, sender):
    address, texts, send, _ = sender
    page.run("document.getElementById('live').open = true")
    page.run(f"document.getElementById('address').value = '{address}?token=secret'")
    page.run("document.getElementById('connect').requestSubmit()")
    page.until("app.live.stream.open")
    told = page.run("document.getElementById('address').value")
    assert told == address, "a token is not shown"
    row = np.zeros(52)
    row[BLENDSHAPES.index("MouthSmileLeft")] = 0.4
    angles = np.zeros(9)
    angles[0] = 0.1
    send(message(row, angles))
    page.until("app.live.shown !== null")
    settled(page)
    smiling = page.run("Array.from(app.frame.code)")
    neutral = page.run("app.subject.neutral")
    assert smiling[SMILE] == pytest.approx(min(1, neutral[SMILE] + 0.4), abs=1e-5)
    turned = np.array(page.run("Array.from(app.frame.pose.R)")).reshape(3, 3)
    turn = SUBJECT.limits.rotation.numpy().T @ turned
    assert np.arctan2(turn[0, 2], turn[2, 2]) == pytest.approx(0.1, abs=1e-6)
    # None of these is a message.
    broken = message(row)
    for data in (
        b"",
        broken[:-1],
        broken + b"x",
        message(row, magic=b"HTTP"),
        message(np.full(52, np.nan)),
        message(row, np.full(9, np.inf)),
        b"\0" * 268,
    ):
        send(data)  # fmt: skip
    send(message(sequence=2, flags=2))
    page.run("document.getElementById('again').click()")
    page.until("app.live.shown !== null")
    page.browser.wait(asyncio.sleep(0.1))
    assert page.run("Array.from(app.frame.code)") == smiling
    assert texts == ["calibrate"]
    page.run("document.getElementById('connect').requestSubmit()")
    page.until("!app.live.stream.open")
    assert shown(page, "link") == ""


def test_a_stream_that_breaks_is_connected_again(page, sender):
    address, _, _, sockets = sender
    page.run(f"app.live.connect('{address}')")
    page.until("app.live.stream.open")
    page.browser.wait(sockets[0].close())
    for _ in range(1000):
        if len(sockets) == 2:
            break
        page.browser.wait(asyncio.sleep(0.02))
    assert len(sockets) == 2
    page.until(
        "app.live.stream.open && document.getElementById('link').textContent === 'Connected.'"
    )


def test_an_address_that_is_none(page):
    page.run("app.live.connect('http://127.0.0.1')")
    assert "begins with ws://" in trouble(page)
    page.run("document.querySelector('#problem button').click()")
    assert page.run("document.getElementById('problem').hidden")


def test_broken_files_for_the_webcam_are_one_line(page, tmp_path):
    files = {
        "face_landmarker.task": b"PK\3\4 not a model",
        "tasks-vision-0.10.35.tgz": b"\x1f\x8b\x08\x00 not a package",
        "tasks-vision-1.0.0.tgz": None,
        "holiday.jpg": b"\xff\xd8",
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("package/vision_bundle.mjs")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"alert"))
    files["tasks-vision-1.0.0.tgz"] = packed.getvalue()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        page.run("app.page.problem(null)")
        page.choose("#choose", tmp_path / name)
        text = trouble(page)
        assert text.startswith(f"{name}: damaged or of another version; choose ")
    assert page.run("document.getElementById('camera').disabled")
    page.run("document.getElementById('relax').click()")
    assert page.run("app.transport.source") == "sliders"


def test_the_page_takes_the_model_that_the_library_fetches():
    script = FOLDER.joinpath("face_files.js").read_text()
    assert MODEL_FILES["face_landmarker.task"].sha256 in script


def test_files_can_be_dropped_on_the_page(page):
    page.run(
        """(() => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File(['no model'], 'face_landmarker.task'));
          for (const name of ['dragover', 'drop']) {
            dispatchEvent(new DragEvent(name, { dataTransfer, cancelable: true }));
            if (name === 'dragover') window.told = !document.getElementById('drop').hidden;
          }
        })()"""
    )
    assert page.run("told && document.getElementById('drop').hidden")
    assert trouble(page).startswith("face_landmarker.task: damaged or of another version")
    assert page.run("document.getElementById('webcam').open")


def test_no_camera_is_one_line(page):
    said = page.run("app.live.webcam.start(() => {}).catch((error) => error.message)")
    assert said == "There is no camera; connect one and start again"
    assert not page.run("app.live.webcam.running")


def test_a_damaged_avatar_is_one_line(browser):
    page = browser.page(browser.serve(served(b"no avatar")))
    assert trouble(page) == "The avatar is cut or damaged; export it again"


def test_a_server_that_ended_is_one_line(browser):
    page = browser.page(browser.serve(served(b"", payload="gone.hswb")))
    assert trouble(page) == "The avatar did not arrive; is its server still running?"


def test_without_webgl_the_page_says_so_and_stays():
    with Browser(["--disable-3d-apis"]) as other:
        page = other.page(other.serve(served(small_payload())))
        assert trouble(page).startswith("This browser has no WebGL2")
        page.run("document.getElementById('play').click()")
        page.until("app.transport.player.time > 0.1")
