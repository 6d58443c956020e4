"""Packets to frames out: messages, images, and videos that ffmpeg completes."""

import asyncio
import os
import shutil
import signal
import sys
import time
from dataclasses import replace

import aiohttp
import av
import numpy as np
import pytest

from headsplat.formats.arkit.names import BLENDSHAPES
from headsplat.live.clients import CALIBRATE
from headsplat.live.drawing import LiveRenderer
from headsplat.live.driving import LiveDriver, resting
from headsplat.live.frame import from_message
from headsplat.live.options import RAW, InputOptions, OutputOptions
from headsplat.live.performer import Performer
from headsplat.live.pipes import CameraOutput, FfmpegOutput, StdoutOutput, V4l2Output
from headsplat.live.protocols import PROTOCOLS
from headsplat.live.session import Session
from headsplat.live.sources import PhoneSource, _next, _standard_input
from headsplat.live.websocket import WebSocketOutput
from headsplat.runtime.errors import UserError
from tests.unit.driven import SIZE, arkit_like, make_avatar, make_driven_subject, make_track
from tests.unit.live_packets import free_port, live_link, sender

JAW = BLENDSHAPES.index("JawOpen")
HEAD = arkit_like()
TRACK = make_track(HEAD)
SUBJECT = make_driven_subject(HEAD, TRACK)
AVATAR = make_avatar(HEAD, np.asarray(TRACK.shape))
LIVE_LINK = PROTOCOLS["live-link"]
PLAIN = InputOptions(udp_host="127.0.0.1", angles="radians", calibrate=False, cutoff=0)
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


pytestmark = pytest.mark.usefixtures("restored_signals")


class PortedSource(PhoneSource):
    """Listens on a free port rather than on the protocol's own."""

    def __init__(self, driver: LiveDriver | None, given: InputOptions = PLAIN) -> None:
        given = replace(given, udp_port=free_port())
        super().__init__(LIVE_LINK, given, Performer(LIVE_LINK, given), driver)


def drawn_session(output, steady: bool = False) -> Session:
    source = PortedSource(LiveDriver(AVATAR, SUBJECT))
    renderer = LiveRenderer(AVATAR, TRACK, 0, (1.0, 1.0, 1.0))
    return Session(source, output, 120, steady, renderer, resting(AVATAR, SUBJECT))


async def stopped(running: asyncio.Task) -> int:
    """Send this process a signal; the session's result."""
    begin = time.monotonic()
    os.kill(os.getpid(), signal.SIGTERM)
    number = await running
    assert time.monotonic() - begin < 2
    return number


async def listening(output: WebSocketOutput) -> None:
    while not output.address:
        await asyncio.sleep(0.01)


def run(case) -> None:
    asyncio.run(asyncio.wait_for(case, 60))


def test_packets_become_messages():
    async def case():
        output = WebSocketOutput(OutputOptions(port=0), (0, 0))
        session = Session(PortedSource(None), output, 240)
        running = asyncio.create_task(session.run())
        await listening(output)
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(output.address) as page,
        ):
            with sender(session.source.port) as send:
                for k in range(10):
                    send(live_link([0.1, 0.2, 0.3] + [0.0] * 6, JawOpen=k / 10))
                    frame, sequence, _ = from_message(await page.receive_bytes())
                    assert frame.weights[JAW] == pytest.approx(k / 10)
                    assert sequence == k
                    np.testing.assert_allclose(frame.angles[:3], [0.1, 0.2, 0.3], atol=1e-6)
                await page.send_str(CALIBRATE)
                neutral = time.monotonic() + 1.3
                while time.monotonic() < neutral:
                    send(live_link(JawOpen=0.2))
                    frame, _, _ = from_message(await page.receive_bytes())
                assert frame.weights[JAW] == pytest.approx(0, abs=1e-6)
        assert await stopped(running) == signal.SIGTERM

    run(case())


def test_packets_become_images():
    async def case():
        output = WebSocketOutput(OutputOptions(port=0, send=RAW), (SIZE, SIZE))
        session = drawn_session(output)
        running = asyncio.create_task(session.run())
        await listening(output)
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(output.address) as page,
        ):
            await page.receive_str()
            seen = [await page.receive_bytes()]
            with sender(session.source.port) as send:
                for k in range(1, 5):
                    send(live_link([0.06 * k, 0, 0] + [0.0] * 6, JawOpen=k / 4))
                    seen.append(await page.receive_bytes())
        images = np.array([np.frombuffer(s, np.uint8) for s in seen]).astype(int)
        assert images.shape == (5, SIZE * SIZE * 3)
        # The head turns, so that every image differs from the one before.
        assert (np.abs(np.diff(images, axis=0)).mean(1) > 0.2).all()
        assert output.latency.count == 4
        await stopped(running)

    run(case())


@needs_ffmpeg
def test_ffmpeg_writes_a_whole_video(tmp_path):
    out = tmp_path / "out.mp4"

    async def case():
        output = FfmpegOutput(OutputOptions(fps=30), (SIZE, SIZE), ["-y", str(out)])
        session = drawn_session(output, steady=True)
        running = asyncio.create_task(session.run())
        with sender(session.source.port) as send:
            while output.latency.count < 20:
                turn = 0.2 * np.sin(time.monotonic())
                send(live_link([turn, 0, 0] + [0.0] * 6, JawOpen=0.5))
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)  # the last image is repeated
        await stopped(running)

    run(case())
    with av.open(str(out)) as file:
        images = np.stack([f.to_ndarray(format="rgb24") for f in file.decode(video=0)])
    assert images.shape[1:] == (SIZE, SIZE, 3)
    assert len(images) > 15
    assert images.std(0).max() > 10


@needs_ffmpeg
def test_an_ffmpeg_that_is_slow_completes_its_video(tmp_path):
    out = tmp_path / "out.mp4"
    # Two seconds more of the last image, as slowly as they would be shown.
    given = ["-vf", "tpad=stop=60:stop_mode=clone,realtime", "-y", str(out)]

    async def case():
        output = FfmpegOutput(OutputOptions(fps=30), (SIZE, SIZE), given)
        async with output:
            await output.send(bytes(SIZE * SIZE * 3), None)
        assert output._process.returncode == 0

    run(case())
    with av.open(str(out)) as file:
        assert len(list(file.decode(video=0))) > 55


def test_an_ffmpeg_that_never_ends_is_killed_by_a_second_signal(tmp_path, monkeypatch, caplog):
    program = tmp_path / "ffmpeg"
    ignoring = "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    program.write_text(f"#!{sys.executable}\nimport signal, time\n{ignoring}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("headsplat.live.pipes._TERMINATED", 0.3)
    caplog.set_level("INFO", "headsplat")

    async def case():
        output = FfmpegOutput(OutputOptions(), (SIZE, SIZE), ["out.mp4"])
        running = asyncio.create_task(drawn_session(output, steady=True).run())
        while not hasattr(output, "_process"):
            await asyncio.sleep(0.01)
        while not any("Ctrl-C again" in record.getMessage() for record in caplog.records):
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(2.5)
        os.kill(os.getpid(), signal.SIGINT)
        assert await asyncio.wait_for(running, 5) == signal.SIGINT
        assert output._process.wait(5) == -signal.SIGKILL

    run(case())
    said = [record.getMessage() for record in caplog.records]
    assert "ffmpeg was ended; what it wrote may be incomplete" in said


def test_an_ffmpeg_that_never_completes_is_an_error(tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!{sys.executable}\nimport sys, time\nsys.stdin.read()\ntime.sleep(60)\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("headsplat.live.pipes._SOON", 0.2)
    monkeypatch.setattr("headsplat.live.pipes._LONG", 0.5)

    async def case():
        async with FfmpegOutput(OutputOptions(), (SIZE, SIZE), [str(tmp_path / "out.mp4")]):
            pass

    with pytest.raises(UserError, match="did not complete its output"):
        run(case())


def test_a_closed_standard_output_is_told(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(UserError, match="standard output is closed"):
        StdoutOutput(OutputOptions(), (SIZE, SIZE), [])._open()


@pytest.mark.parametrize("host", ["a..b", "a" * 70])
def test_a_host_that_is_no_name_is_told(host):
    async def case():
        async with WebSocketOutput(OutputOptions(host=host, token="t" * 24, port=0), (8, 8)):
            pass

    with pytest.raises(UserError, match="no name or address"):
        run(case())


def test_a_silent_standard_input_holds_no_end(monkeypatch):
    read, write = os.pipe()
    with open(read, "rb") as file:
        monkeypatch.setattr(sys, "stdin", file)

        async def case():
            chunks = _standard_input()
            os.write(write, b"\0\x40")
            assert (await _next(chunks)).tolist() == [0.5]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_next(chunks), 0.1)

        begin = time.monotonic()
        run(case())
        assert time.monotonic() - begin < 5
        os.close(write)  # the thread ends


@needs_ffmpeg
def test_an_ffmpeg_that_ends_by_itself_is_a_normal_end(tmp_path, caplog):
    out = tmp_path / "out.mp4"
    caplog.set_level("INFO", "headsplat")

    async def case():
        output = FfmpegOutput(OutputOptions(fps=30), (SIZE, SIZE), ["-t", "0.5", str(out)])
        assert await drawn_session(output, steady=True).run() == 0
        return output._written

    written = asyncio.run(asyncio.wait_for(case(), 60))
    with av.open(str(out)) as file:
        assert 10 < len(list(file.decode(video=0))) <= 16
    said = [record.getMessage() for record in caplog.records]
    assert written > 10
    assert f"ffmpeg has ended; it got {written} images" in said
    assert said[-1] == f"in: 0 frames; out: {written} images of the resting face"


@needs_ffmpeg
def test_an_ffmpeg_that_fails_is_one_line_its_last(capfd):
    async def case():
        output = FfmpegOutput(OutputOptions(), (SIZE, SIZE), ["-f", "nothing", "nowhere"])
        with pytest.raises(UserError, match="ffmpeg failed: ") as caught:
            await drawn_session(output, steady=True).run()
        return str(caught.value)

    line = asyncio.run(asyncio.wait_for(case(), 60))
    said = capfd.readouterr().err.splitlines()  # all that it said is passed on
    assert line == f"ffmpeg failed: {said[-1]}"
    assert any("'nothing'" in other for other in said)


@needs_ffmpeg
def test_an_ffmpeg_that_is_killed_is_no_normal_end():
    async def case():
        output = FfmpegOutput(OutputOptions(), (SIZE, SIZE), ["-f", "null", "-"])
        running = asyncio.create_task(drawn_session(output, steady=True).run())
        while not output._written:
            await asyncio.sleep(0.01)
        output._process.kill()
        with pytest.raises(UserError, match="ffmpeg failed: status -9"):
            await running

    run(case())


@needs_ffmpeg
@pytest.mark.parametrize("stop", [True, False])
def test_a_folder_that_disappears_is_no_normal_end(tmp_path, stop):
    folder = tmp_path / "out"
    folder.mkdir()
    given = [*([] if stop else ["-t", "0.5"]), str(folder / "a.mkv")]

    async def case():
        output = FfmpegOutput(OutputOptions(), (SIZE, SIZE), given)
        running = asyncio.create_task(drawn_session(output, steady=True).run())
        while not any(folder.iterdir()):
            await asyncio.sleep(0.01)
        shutil.rmtree(folder)
        with pytest.raises(UserError, match="out: is gone, and what ffmpeg wrote there is lost"):
            await (stopped(running) if stop else running)

    run(case())


def test_devices_must_be_writable():
    with pytest.raises(UserError, match="/dev/video99: cannot be written; load v4l2loopback"):
        V4l2Output(OutputOptions(), (SIZE, SIZE), ["/dev/video99"])._open()


def test_a_camera_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(UserError, match="pip install pyvirtualcam, or use --out v4l2"):
        CameraOutput(OutputOptions(), (SIZE, SIZE), ())._open()


class PipeOutput(StdoutOutput):
    """Writes raw images into a pipe rather than to standard output."""

    def __init__(self, write: int) -> None:
        super().__init__(OutputOptions(), (SIZE, SIZE), ())
        self._write_end = write

    def _open(self) -> None:
        self._file = os.fdopen(self._write_end, "wb")


def test_a_reader_that_ends_is_a_normal_end(caplog):
    caplog.set_level("INFO", "headsplat")

    async def case():
        read, write = os.pipe()
        running = asyncio.create_task(drawn_session(PipeOutput(write), steady=True).run())
        with os.fdopen(read, "rb") as file:
            assert len(await asyncio.to_thread(file.read, SIZE * SIZE * 3)) == SIZE * SIZE * 3
        assert await running == 0

    run(case())
    said = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("the reader of standard output has ended; it got") for line in said)


def test_a_slow_reader_gets_newer_images():
    """What is not read is neither kept nor made up for."""

    async def case():
        read, write = os.pipe()
        output = PipeOutput(write)
        session = drawn_session(output)
        running = asyncio.create_task(session.run())
        with sender(session.source.port) as send:
            for k in range(120):
                send(live_link([0.2 * np.sin(k / 9), 0, 0] + [0.0] * 6))
                await asyncio.sleep(0.01)
        # The pipe holds some images, and one is being written.
        assert output.latency.count < 20
        size, data = SIZE * SIZE * 3, b""
        with os.fdopen(read, "rb", 0) as file:
            while (part := await asyncio.to_thread(file.read, size)) and len(data) < 12 * size:
                data += part
                with sender(session.source.port) as send:
                    send(live_link([0.2, 0, 0] + [0.0] * 6))
        await stopped(running)

    run(case())
