"""The console command: output, files, errors, and exit status."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

import headsplat
from headsplat.command.main import main
from headsplat.formats.frame import frame_dict, write_frame
from headsplat.frames.images import read_image_file
from headsplat.runtime.files import read_json, write_plain_json
from headsplat.runtime.stopping import SIGNALS
from headsplat.track import write_track
from tests.conftest import ROOT
from tests.unit.driven import SIZE, arkit_like, make_subject, make_track
from tests.unit.live_link import write_table


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    """A subject on a head with ARKit's names; its track has 12 frames, ids 1 to 12."""
    folder = tmp_path_factory.mktemp("ball")
    return make_subject(folder / "avatar", folder / "head.npz", folder / "track.npz", arkit_like())


@pytest.fixture
def command(capfd):
    """Run the command in this process; (status, standard output, standard error)."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def run(*words: object) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        return status, *capfd.readouterr()

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def images(path: Path) -> np.ndarray:
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


@pytest.mark.parametrize("words", [["--help"], ["render", "--help"], ["drive", "--help"]])
def test_help_has_examples_and_loads_no_numpy(words) -> None:
    code = (
        "import sys\nfrom headsplat.command.main import main\n"
        f"try:\n    main({words})\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'numpy', 'av'} & sys.modules.keys()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert "example" in run.stdout
    assert f"headsplat {words[0] if len(words) > 1 else 'doctor'}" in run.stdout


def test_one_frame_equals_the_librarys_render(ball, command, tmp_path) -> None:
    status, _, said = command("render", ball.avatar, "--frames", 7, "-o", tmp_path / "a.png")
    assert status == 0, said
    avatar, track = headsplat.load_avatar(ball.avatar), headsplat.load_track(ball.track)
    expected = (avatar.render(track[6]) * 255).round().byte().cpu().numpy()
    assert expected.std() > 10
    np.testing.assert_array_equal(read_image_file(tmp_path / "a.png"), expected)


def test_frames_of_another_track_become_a_folder_or_a_video(ball, command, tmp_path) -> None:
    track = make_track(arkit_like(), 9, seed=3)
    write_track(tmp_path / "t.npz", replace(track, ids=track.ids + 20))
    given = ("render", ball.avatar, "--track", tmp_path / "t.npz")
    assert command(*given, "--frames", "22:24", "-o", tmp_path / "new")[0] == 0
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["00022.png", "00023.png", "00024.png"]
    drawn = np.stack([read_image_file(tmp_path / "new" / name) for name in names])
    assert drawn.shape == (3, SIZE, SIZE, 3)
    assert command(*given, "-o", tmp_path / "all.mp4")[0] == 0
    video = images(tmp_path / "all.mp4").astype(int)
    assert video.shape == (9, SIZE, SIZE, 3)
    assert np.abs(video[1:4] - drawn).mean() < 8


def test_drive_renders_a_motion(ball, command, tmp_path) -> None:
    table = write_table(tmp_path / "take.csv", [{"JawOpen": k / 90} for k in range(90)])
    out = tmp_path / "driven.mp4"
    status, _, said = command("drive", ball.avatar, "--motion", table, "--kind", "arkit", "-o", out)
    assert status == 0, said
    assert len(images(out)) == 38  # 1.5 s at 25 frames a second
    assert sorted(path.name for path in tmp_path.iterdir()) == ["driven.mp4", "take.csv"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["-o", "a.png"], "a.png: one image, but 12 frames are chosen; give one, such as --frames"),
        (["--frames", "13:20", "-o", "a.mp4"], "no frame 13 to 20; its ids are 1 to 12"),
        (["-o", "a.gif"], "a.gif: cannot be written; give an .mp4, a .png or a new folder"),
        (["-o", "full"], "full: is there already; give a new or an empty folder"),
        (["-o", "."], ".: is there already"),
        (["-o", "a.mp4", "--track", "no.npz"], "no.npz: is not there"),
        (["-o", "a.mp4", "--track", "other.npz"], "the track was made with head model"),
        (["--frames", "1", "-o", "a.png", "--audio", "x.wav"], "a.png: images have no sound"),
        (["-o", "a.mp4", "--audio", "x.wav"], "x.wav: no such file"),
    ],
)
def test_an_error_is_one_line_and_nothing_is_written(
    ball, command, tmp_path, monkeypatch, words, line
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("full").mkdir()
    Path("full/mine").touch()
    write_track(Path("other.npz"), replace(make_track(arkit_like()), head_name="another"))
    before = sorted(tmp_path.rglob("*"))
    status, shown, said = command("render", ball.avatar, *words)
    assert (status, shown) == (1, "")
    assert said.startswith("error: ")
    assert line in said
    assert said.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("frames", ["0", "5:2", "a", "1:", ":3", "1-3"])
def test_invalid_frame_ranges_are_refused(frames, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["render", "x", "--frames", frames, "-o", "a.mp4"])
    assert ended.value.code == 2
    assert f"'{frames}' is not FIRST:LAST, such as 1:50" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_partial_output(ball, tmp_path, number) -> None:
    write_track(tmp_path / "long.npz", make_track(arkit_like(), 20_000))
    words = ["render", ball.avatar, "--track", tmp_path / "long.npz", "-o", tmp_path / "a.mp4"]
    run = subprocess.Popen(
        [sys.executable, "-m", "headsplat.command.main", *map(str, words)],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while run.poll() is None and not any(tmp_path.glob(".a.*.mp4")):
        time.sleep(0.02)
    run.send_signal(number)
    _, said = run.communicate(timeout=30)
    assert said.splitlines()[-1] == "stopped"
    assert run.returncode == 128 + number
    assert [path.name for path in tmp_path.iterdir()] == ["long.npz"]


def facts_of(shown: str) -> dict[str, str]:
    """The printed rows, which are aligned."""
    lines = shown.splitlines()
    start = min(line.index("  ") for line in lines if "  " in line)
    rows = [line.split("  ", 1) for line in lines]
    places = {len(line) - len(value.lstrip()) for line, (_, value) in zip(lines, rows, strict=True)}
    assert len(places) == 1, shown
    assert start > 0
    return {name: value.strip() for name, value in rows}


def test_info_of_an_avatar_a_track_a_head_and_a_frame(ball, command, tmp_path) -> None:
    def info(path: Path) -> dict[str, str]:
        status, shown, said = command("info", path)
        assert status == 0, said
        return facts_of(shown)

    head = arkit_like()
    avatar = info(ball.avatar)
    assert avatar["what"] == f"avatar in {ball.avatar}"
    assert avatar["model"] == "blendshapes, 300 Gaussians"
    assert avatar["head"].startswith("ict 1 (MIT)")
    assert "avatar.npz" in avatar["files"]
    track = info(ball.track)
    assert track["what"] == "track"
    assert track["frames"] == "12, ids 1 to 12, 0.5 s at 25 frames/s"
    assert track["images"] == f"{SIZE} x {SIZE} pixels, focal length 120"
    model = info(ball.head)
    assert model["what"] == "head model"
    assert model["mesh"].startswith(f"{len(head.template)} vertices, {len(head.faces)} triangles")
    row = make_track(head)
    codes = (row.shape, row.exp[0], row.jaw[0], row.eyes[0], row.eyelids[0])
    frame = frame_dict(0, *codes, row.R[0], row.t[0], row.K, (SIZE, SIZE))
    write_frame(tmp_path / "00000.frame", frame)
    assert info(tmp_path / "00000.frame")["codes"] == (
        f"nonzero: 0 of 300 identity, {row.exp.shape[1]} of 100 expression"
    )
    assert info(tmp_path)["what"].startswith("1 .frame files")


def test_info_of_videos_and_unknown_files(ball, command, tmp_path) -> None:
    assert command("render", ball.avatar, "-o", tmp_path / "v.mp4")[0] == 0
    status, shown, _ = command("info", tmp_path / "v.mp4")
    assert status == 0
    assert facts_of(shown)["images"] == f"{SIZE} x {SIZE} pixels, h264, 25.00 a second"
    assert facts_of(shown)["sound"] == "none"
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "x.npz", a=np.ones(2))
    (tmp_path / "b.npz").write_bytes(b"PK broken")
    for name, line in (
        ("nowhere", "no such file or folder"),
        ("x.npz", "an .npz of neither a track nor a head model"),
        ("b.npz", "not an .npz that can be read"),
        ("empty", "holds no avatar"),
    ):
        status, shown, said = command("info", tmp_path / name)
        assert (status, shown) == (1, "")
        assert said.startswith(f"error: {tmp_path / name}: {line}")
        assert said.count("\n") == 1


def test_info_of_a_broken_avatar_is_one_line(ball, command, tmp_path) -> None:
    tmp_path = tmp_path / "avatar"
    tmp_path.mkdir()
    whole = read_json(ball.avatar / "avatar.json")
    unnumbered = {key: value for key, value in whole.items() if key != "gaussians"}
    for facts in ([], {"format": 3}, unnumbered, whole | {"training": {"steps": 3}}):
        write_plain_json(tmp_path / "avatar.json", facts)
        status, shown, said = command("info", tmp_path)
        assert (status, shown) == (1, "")
        assert "avatar.json: " in said
        assert said.endswith("train the avatar again\n")
        assert said.count("\n") == 1
    trained = {"steps": 9, "frames": 4, "size": [8, 6], "seconds": 2.4, "device_name": "cpu"}
    write_plain_json(tmp_path / "avatar.json", whole | {"training": trained})
    (tmp_path.parent / "metrics.json").write_text('{"psnr_head": 31.26, "ssim_head": 0.9}')
    told = facts_of(command("info", tmp_path)[1])
    assert told["training"] == "9 steps on 4 frames of 6 x 8 pixels, 2 s on cpu"
    assert told["held-out frames"] == "PSNR 31.3 dB, SSIM 0.900 of the head"


def test_a_closed_pipe_is_no_error(ball) -> None:
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "headsplat.command.main", "info", str(ball.track)]
    run = subprocess.run(words, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (run.returncode, run.stderr) == (1, "")


def test_doctor_needs_no_workflow(command, monkeypatch) -> None:
    status, shown, said = command("doctor")
    assert status == 0, shown + said
    rows = [line.split()[0] for line in shown.splitlines()]
    assert rows[:6] == ["headsplat", "cores", "memory", "shared", "temporary", "C++"]
    assert shown.splitlines()[-1].endswith("are well; headsplat can run")
    monkeypatch.setenv("CXX", "no-such-compiler")
    status, _, said = command("doctor")
    assert status == 1
    assert "error: C++ compiler: no-such-compiler is not there; install g++ 11" in said


def test_a_closed_or_full_output_is_no_traceback():
    command = [sys.executable, "-m", "headsplat.command.main"]
    for arguments, output in (("--version", "> /dev/full"), ("info .", ">&-")):
        shell = ["sh", "-c", f'"$@" {arguments} {output}', "sh", *command]
        done = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
