"""The command `headsplat live`: raw output, its end, and options that do not go together."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from headsplat.command.main import main
from headsplat.formats.arkit.names import BLENDSHAPES
from headsplat.live.live_link_udp import LiveLinkReader
from headsplat.live.options import INPUTS, InputOptions
from headsplat.live.outputs import OUTPUTS
from headsplat.live.performer import Performer
from headsplat.live.protocols import PROTOCOLS
from headsplat.live.receiver import Receiver
from tests.conftest import ROOT
from tests.unit.driven import arkit_like, flame_like, make_subject
from tests.unit.live_link import write_table
from tests.unit.live_packets import free_port, live_link, sender


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    """Files of a subject on a head with ARKit's names."""
    folder = tmp_path_factory.mktemp("live")
    return make_subject(folder / "avatar", folder / "head.npz", folder / "track.npz", arkit_like())


pytestmark = pytest.mark.usefixtures("restored_signals")


def command(*words: object, **given) -> subprocess.Popen:
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | given
    listed = [sys.executable, "-m", "headsplat.command.main", "live", *map(str, words)]
    return subprocess.Popen(listed, cwd=ROOT, **given)


def test_raw_images_on_standard_output_until_ctrl_c(ball):
    port = free_port()
    words = (ball.avatar, "--in", "live-link", "--udp-host", "127.0.0.1", "--udp-port", port)
    process = command(*words, "--out", "stdout", "--height", 32, "--no-calibrate")
    first = process.stdout.read(32 * 32 * 3)  # the neutral face, before any packet
    with sender(port) as send:
        changed = first
        while changed == first:
            send(live_link([0.6, 0, 0] + [0.0] * 6, JawOpen=0.8))
            changed = process.stdout.read(32 * 32 * 3)
    assert len(changed) == len(first)
    # An image is counted once it is written, and the next one comes after that.
    assert len(process.stdout.read(32 * 32 * 3)) == len(first)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert time.monotonic() - begin < 3
    lines = said.decode().splitlines()
    assert process.returncode == 128 + signal.SIGINT
    assert lines[-1] == "stopped"
    assert any(line.startswith("in: ") and "ms after they came" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--in", "speaker", "--out", "websocket"], "has no coefficients to send; use --send jpeg"),
        (["--in", "motion", "--out", "websocket", "--send", "raw"], "give the file with --motion"),
        (["--in", "speaker", "--out", "stdout"], "give the sound with --sound"),
        (["--in", "vmc", "--out", "ffmpeg"], "give its output arguments last"),
        (["--in", "vmc", "--out", "v4l2", "--to", "/etc/passwd"], "give the device of v4l2loopba"),
        (["--in", "vmc", "--out", "stdout", "--to", "x"], "nothing can follow --to"),
        (["--in", "vmc", "--out", "stdout", "--background", "red"], "use white or #rrggbb"),
        (["--in", "vmc", "--out", "stdout", "--fps", "0"], "--fps 0: must be between 1 and 240"),
        (["--in", "ifacialmocap", "--out", "websocket"], "give the phone's IP address"),
        (["--in", "vmc", "--out", "websocket", "--host", "0.0.0.0"], "give a secret with --token"),
        (["--in", "vmc", "--udp-host", "9.9.9.9", "--out", "websocket"], "cannot be listened on"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(ball, capfd, words, line):
    free = [] if "ifacialmocap" in words else ["--udp-port", str(free_port())]
    split = words.index("--to") if "--to" in words else len(words)
    given = [*words[:split], *free, "--port", "0", *words[split:]]
    assert main(["live", str(ball.avatar), *given]) == 1
    said = capfd.readouterr().err.splitlines()
    assert said[-1].startswith("error: ")
    assert line in said[-1]


def test_other_heads_are_refused_before_anything_listens(tmp_path, capfd):
    head, files = flame_like(), (tmp_path / "head.npz", tmp_path / "track.npz")
    made = make_subject(tmp_path / "avatar", *files, head)
    for folder, line in ((made.avatar, "no expression shapes with ARKit's"), (ROOT, "no avatar")):
        assert main(["live", str(folder), "--in", "vmc", "--out", "websocket"]) == 1
        said = capfd.readouterr().err.splitlines()
        assert line in said[-1]


def test_a_recording_is_sent_as_by_a_phone(tmp_path):
    rows = [{"JawOpen": k / 70, "MouthLeft": 0.25, "HeadYaw": 0.5} for k in range(70)]
    table = write_table(tmp_path / "take.csv", rows)

    async def case():
        with Receiver(PROTOCOLS["live-link"], "127.0.0.1", 0) as given:
            words = (str(ROOT / "examples/replay_csv.py"), str(table), "--once", "--port")
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            sending = await asyncio.create_subprocess_exec(
                sys.executable, *words, str(given.port), env=environment
            )
            assert await sending.wait() == 0
            frame = (await given.slot.take()).value
            assert given.counts.frames == 70
            return frame

    frame = asyncio.run(asyncio.wait_for(case(), 60))
    seen = dict(zip(BLENDSHAPES, frame.weights, strict=True))
    assert {name for name, value in seen.items() if value} == {"JawOpen", "MouthLeft"}
    assert seen["JawOpen"] == pytest.approx(69 / 70)
    assert frame.angles[0] == 0.5


def test_without_a_recording_the_calibration_is_performed():
    """The take of the example: the unit of its angles is found, and the face moves after that."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        import replay_csv
    finally:
        sys.path.pop(0)
    said, reader = [], LiveLinkReader()
    protocol = PROTOCOLS["live-link"]
    performer = Performer(protocol, InputOptions(), said.append)
    times, rows = replay_csv.own_take()
    found = [
        performer.next(reader.read(replay_csv.packet(row, k)), seconds)
        for k, (seconds, row) in enumerate(zip(times, rows, strict=True))
    ]
    assert said[-1] == "calibrated: angles are in radians, as sent"
    after = np.array([frame.weights for frame in found[300:]])
    moving = {BLENDSHAPES[k] for k in np.flatnonzero(np.ptp(after, 0) > 0.3)}
    assert {"JawOpen", "MouthSmileLeft", "BrowInnerUp", "MouthPucker"} <= moving


def test_a_port_in_use_is_one_line(ball, capfd):
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        for made in (tcp, udp):
            made.bind(("127.0.0.1", 0))
        tcp.listen()
        used = {made: str(made.getsockname()[1]) for made in (tcp, udp)}
        free = ["--udp-port", str(free_port())]
        for given, line in (
            ([*free, "--port", used[tcp]], f"error: TCP port {used[tcp]} of 127.0.0.1 cannot be"),
            (["--udp-port", used[udp]], f"error: UDP port {used[udp]} of 127.0.0.1 cannot be"),
        ):
            words = ["live", str(ball.avatar), "--in", "vmc", "--out", "websocket", *given]
            assert main([*words, "--udp-host", "127.0.0.1"]) == 1
            (said,) = capfd.readouterr().err.splitlines()
            assert said.startswith(line)


def test_help_lists_choices_and_no_empty_default():
    run = subprocess.run(
        [sys.executable, "-m", "headsplat", "live", "--help"],
        capture_output=True, text=True, cwd=ROOT, env=os.environ | {"COLUMNS": "1000"},
    )  # fmt: skip
    assert run.returncode == 0
    assert "(default: )" not in run.stdout
    for words in (
        "one of auto, radians, degrees, half-turns (default: auto)",
        "one of auto, as-sent, reversed (default: auto)",
        "arkit: Live Link Face's table; speech: a sound",
        "results/<subject>, or",
    ):
        assert words in run.stdout


def test_a_missing_package_is_one_line(ball, capfd, monkeypatch):
    for name in ("aiohttp", "headsplat.live.websocket"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    given = ["--in", "vmc", "--out", "websocket", "--udp-port", str(free_port())]
    assert main(["live", str(ball.avatar), *given]) == 1
    said = capfd.readouterr().err.splitlines()
    assert said[-1] == "error: aiohttp is not installed: pip install 'headsplat[live]'"


def test_names_of_this_page():
    """Every input and output is on the page about live avatars."""
    text = (ROOT / "docs/live.md").read_text()
    assert [name for name in (*INPUTS, *OUTPUTS) if f"`{name}`" not in text] == []
