"""Driving in the real workflow: videos requested by name, and invalid motion tables."""

import shutil
from dataclasses import replace

import av
import numpy as np
import pytest
import torch

from headsplat.drive.kinds import ABSOLUTE, RELATIVE, MotionOptions
from headsplat.drive.subject import DrivenSubject
from headsplat.drive.track_motion import read_track_motion
from headsplat.heads.model import HeadModel
from headsplat.runtime.files import read_json
from headsplat.track import read_track, write_track
from headsplat.video.sound import read_sound
from tests.unit.driven import flame_like, make_subject
from tests.unit.live_link import write_table

from .conftest import Checkout

HEADER = "name\tkind\tfile\taudio\thead_motion\n"
SELF, PHONE, TALK = (f"results/{name}.mp4" for name in ("demo/driven/self", "demo/driven/phone",
                                                        "doll/driven/talk"))  # fmt: skip


@pytest.fixture(scope="module")
def driven(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The finished run, a synthetic avatar on a head of FLAME's sizes, and motions for both."""
    folder = tmp_path_factory.mktemp("driven") / "headsplat"
    shutil.copytree(finished.folder, folder, symlinks=True, copy_function=shutil.copy2)
    make_subject(
        folder / "results/doll/avatar/model", folder / "work/heads/flame.npz",
        folder / "work/doll/track/track.npz", flame_like(),
    )  # fmt: skip
    with (folder / "config/subjects.tsv").open("a") as table:
        table.write("doll\tbuiltin\tflame\tpreview\n")
    rows = [{"JawOpen": abs(np.sin(k / 15)), "HeadYaw": 0.2 * np.sin(k / 40)} for k in range(121)]
    write_table(folder / "my take.csv", rows)
    rng = np.random.default_rng(0)
    np.savez(
        folder / "speech.npz", exp=rng.normal(size=(40, 50)), pose=rng.normal(size=(40, 6)) * 0.05,
        shape=np.zeros((40, 100)),
    )  # fmt: skip
    (folder / "config/motions.tsv").write_text(
        HEADER + "self\ttrack\tdemo\twork/builtin/demo.mp4\nphone\tarkit\tmy take.csv\n"
        "talk\tdiffposetalk\tspeech.npz\n"
    )
    return Checkout(folder)


def shape(checkout: Checkout, path: str) -> tuple[int, int, int]:
    """Frames, width and height of a video."""
    with av.open(str(checkout.folder / path)) as file:
        stream = file.streams.video[0]
        return stream.frames, stream.width, stream.height


@pytest.mark.slow
def test_driven_videos_are_made_on_demand(driven: Checkout) -> None:
    # The demo's web page plays the motions of the table, which are others now.
    assert driven.planned("demo") == {"export_web": 1}
    assert driven.planned(SELF, PHONE) == {"drive_avatar": 2}
    result = driven.snakemake(SELF, PHONE)
    assert result.returncode == 0, result.stdout + result.stderr
    assert driven.planned(SELF, PHONE) == {}
    assert shape(driven, SELF) == (75, 128, 128)
    samples, rate = read_sound(driven.folder / SELF, 100)
    assert len(samples) / rate == pytest.approx(3.0, abs=0.05)
    assert np.abs(samples).max() > 0.05
    assert shape(driven, PHONE) == (51, 128, 128)
    assert read_sound(driven.folder / PHONE, 100) is None


def test_the_demo_speaks(finished: Checkout) -> None:
    """The tiny clip has too little speech for a voice, so its lips follow phones or loudness."""
    hello = "results/demo/driven/hello.mp4"
    said, _ = read_sound(finished.folder / "work/builtin/hello.wav", 100)
    samples, rate = read_sound(finished.folder / hello, 100)
    frames, *size = shape(finished, hello)
    assert size == [128, 128]
    assert abs(frames / 25 - len(said) / 48_000) < 0.04 + 1e-6
    assert abs(frames / 25 - len(samples) / rate) < 0.04 + 1e-6
    assert np.abs(samples).max() > 0.05
    voice = read_json(finished.folder / "results/demo/voice/voice.json")
    assert "a voice needs 5 or more" in voice["reason"]
    report = (finished.folder / "results/demo/avatar/report.html").read_text()
    assert "a voice needs 5 or more" in report
    motion = np.load(finished.folder / "work/demo/speech/hello.npz")
    jaw = motion["condition"][:, -20:-14]
    assert jaw.std(0).max() > 0.01
    assert len(motion["times"]) == frames


@pytest.mark.slow
def test_one_sound_is_spoken_without_a_row(driven: Checkout) -> None:
    sound = str(driven.folder / "work/builtin/hello.wav")
    asked = f"speak={{subject: demo, sound: {sound}, voice: personal}}"
    assert driven.planned("speak", "--config", asked) == {
        "speak_motion": 1, "drive_avatar": 1, "speak": 1,
    }  # fmt: skip
    result = driven.snakemake("speak", "-n")
    assert result.returncode == 1
    assert "speak: no sound is given" in result.stderr


def test_an_identity_bias_of_a_tracked_clip_is_removed(finished: Checkout, tmp_path) -> None:
    head = HeadModel.load(finished.folder / "work/heads/procedural.npz")
    own = read_track(finished.folder / "work/demo/track/track.npz", head)
    offset = np.random.default_rng(2).uniform(0.05, 0.2, own.exp.shape[1])
    lids = 0.1 + 0.9 * own.eyelids
    write_track(tmp_path / "other.npz", replace(own, exp=own.exp + offset, eyelids=lids))
    subject = DrivenSubject.from_track("own", head, torch.from_numpy(own.shape), own)
    codes = {
        face: read_track_motion(tmp_path / "other.npz", subject, MotionOptions(face=face)).condition
        for face in (RELATIVE, ABSOLUTE)
    }
    wanted = own.codes(torch.float64).vector
    off = {face: (code - wanted).abs().amax(0) for face, code in codes.items()}
    assert off[ABSOLUTE].max() > 0.18
    assert off[RELATIVE].max() < 0.04
    write_track(tmp_path / "same.npz", own)
    same = read_track_motion(tmp_path / "same.npz", subject, MotionOptions())
    assert torch.equal(same.condition, wanted)


@pytest.mark.slow
def test_changed_head_motion_reruns_only_that_video(driven: Checkout) -> None:
    assert driven.snakemake(SELF, PHONE).returncode == 0
    table = driven.folder / "config/motions.tsv"
    before = table.read_text()
    table.write_text(before.replace("my take.csv", "my take.csv\t\tstill"))
    try:
        assert driven.planned(SELF, PHONE) == {"drive_avatar": 1}
    finally:
        table.write_text(before)


@pytest.mark.slow
def test_diffposetalk_codes_drive_a_flame_avatar(driven: Checkout) -> None:
    # It has no video, and FLAME is licensed to its user: what both would give is written directly.
    result = driven.snakemake(TALK, "--allowed-rules", "drive_avatar")
    assert result.returncode == 0, result.stdout + result.stderr
    assert shape(driven, TALK) == (40, 48, 48)
    assert "clamped" in (driven.folder / "logs/doll/drive_avatar/talk.log").read_text()


def test_clips_are_read_only_for_looks_that_need_them(checkout: Checkout) -> None:
    table = checkout.folder / "config/motions.tsv"
    table.write_text(
        "name\tkind\tfile\tbackground\tbody\n"
        "plain\ttrack\tdemo\nlaid\ttrack\tdemo\t\tpaste\nown\ttrack\tdemo\town\n"
    )
    made = {name: checkout.planned(f"results/demo/driven/{name}.webm") for name in (
        "plain", "laid", "own",
    )}  # fmt: skip
    assert {name: jobs.get("clean_plate", 0) for name, jobs in made.items()} == {
        "plain": 0, "laid": 1, "own": 1,
    }  # fmt: skip
    assert all(jobs["drive_with_alpha"] == 1 for jobs in made.values())


@pytest.mark.parametrize(
    ("table", "target", "expected"),
    [
        (None, "self", "there is no motion 'self'; add a line: name, kind, file"),
        (HEADER + "self\ttrack\tdemo\n", "sefl", "no motion 'sefl'; did you mean 'self'?"),
        (HEADER + "self\ttrack\tnobody\n", "self", "motions.tsv line 2: the file 'nobody'"),
        (HEADER + "talk\tdiffposetalk\tSnakefile\n", "talk", "must end in .npz for diffposetalk"),
        (HEADER + "talk\tdiffposetalk\ta.npz\n", "talk", "whose head is flame; this one's is"),
        (
            "name\tkind\tfile\tbackground\nself\ttrack\tdemo\ttransparent\n",
            "self",
            "self: background transparent: .mp4 has no alpha channel; ask for .mov, .webm",
        ),
        (
            "name\tkind\tfile\tbackground\nself\ttrack\tdemo\tgone.png\n",
            "self",
            "motions.tsv line 2: the background 'gone.png' of 'self' is not there",
        ),
        (
            "name\tkind\tfile\tbody\nself\ttrack\tdemo\ttorso\n",
            "self",
            "self: body torso: demo's avatar has no torso, because train.body of preset",
        ),
    ],
)
def test_invalid_motions_end_in_one_line(
    checkout: Checkout, table: str | None, target: str, expected: str
) -> None:
    if table is not None:
        (checkout.folder / "config/motions.tsv").write_text(table)
        (checkout.folder / "a.npz").touch()
    result = checkout.snakemake("-n", f"results/demo/driven/{target}.mp4")
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert expected in lines[0]
    assert "Traceback" not in result.stderr
