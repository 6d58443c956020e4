"""The command `headsplat live`: raw output, its end, and options that do not go together."""

import signal
import subprocess
import sys
import time

import pytest

from headsplat.command.main import main
from headsplat.live.options import INPUTS
from headsplat.live.outputs import OUTPUTS
from headsplat.runtime.stopping import SIGNALS
from tests.conftest import ROOT
from tests.unit.driven import arkit_like, make_subject
from tests.unit.live_packets import free_port, live_link, sender


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    """Files of a subject on a head with ARKit's names."""
    folder = tmp_path_factory.mktemp("live")
    return make_subject(folder / "avatar", folder / "head.npz", folder / "track.npz", arkit_like())


@pytest.fixture(autouse=True)
def restored_signals():
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


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
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert time.monotonic() - begin < 3
    lines = said.decode().splitlines()
    assert process.returncode == 128 + signal.SIGINT
    assert lines[-1] == "stopped"
    assert any(line.startswith("in: ") and "ms after they came" in line for line in lines)


def test_a_reader_that_ends_is_one_line(ball):
    words = ("--in", "live-link", "--udp-port", free_port(), "--out", "stdout", "--height", 32)
    process = command(ball.avatar, *words)
    process.stdout.read(10)
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait(20) == 1
    assert said.splitlines()[-1].startswith("error: standard output takes no more images")


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


def test_names_of_this_page():
    """Every input and output is on the page about live avatars."""
    text = (ROOT / "docs/live.md").read_text()
    assert [name for name in (*INPUTS, *OUTPUTS) if f"`{name}`" not in text] == []
