"""The stage `drive_avatar`, from files to video, with all kinds of motions."""

import wave
from pathlib import Path

import av
import numpy as np
import pytest

import drive_avatar as script
from headsplat.avatar_files import load_avatar
from headsplat.drive import draw, run
from headsplat.frames.images import encode_png, open_image
from headsplat.frames.packs import FrameStore
from headsplat.heads.model import HeadModel
from headsplat.render import FrameRenderer
from headsplat.runtime.errors import UserError
from headsplat.runtime.scratch import Scratch
from headsplat.runtime.stopping import Stopped
from headsplat.track import read_track, write_track
from headsplat.video.sound import read_sound
from tests.unit.driven import SIZE, arkit_like, flame_like, make_subject, make_track
from tests.unit.live_link import write_table


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    """A subject on a head with ARKit's names."""
    folder = tmp_path_factory.mktemp("ball")
    return make_subject(folder / "avatar", folder / "head.npz", folder / "track.npz", arkit_like())


@pytest.fixture(scope="module")
def doll(tmp_path_factory):
    """A subject on a head with FLAME's name and sizes."""
    folder = tmp_path_factory.mktemp("doll")
    return make_subject(folder / "avatar", folder / "head.npz", folder / "track.npz", flame_like())


def drive(subject, out: Path, motion: Path, kind: str, *more: str) -> np.ndarray:
    """Run the script; (N, H, W, 3) images of the video."""
    arguments = [*subject.arguments(), "--motion", str(motion), "--kind", kind]
    scratch = ["--scratch", str(subject.head.parent / "scratch")]
    script.main([*arguments, *scratch, "--out", str(out), *more])
    return random_images(out)


def random_images(path: Path) -> np.ndarray:
    with av.open(str(path)) as file:
        assert file.streams.video[0].average_rate == 25
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def beep(path: Path, seconds: float) -> Path:
    tone = (np.sin(np.arange(int(16000 * seconds)) * 0.3) * 20000).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(tone.tobytes())
    return path


def speech(path: Path, frames: int = 50) -> Path:
    rng = np.random.default_rng(1)
    pose = np.zeros((frames, 6))
    pose[:, 1] = 0.2 * np.sin(np.arange(frames) / 8)
    pose[:, 3] = 0.1 * (1 + np.sin(np.arange(frames) / 3))
    exp = 0.3 * np.sin(np.arange(frames)[:, None] / 10 + rng.normal(size=50))
    np.savez(path, exp=exp, pose=pose, shape=np.zeros((frames, 100)))
    return path


def center(image: np.ndarray) -> float:
    """Column of the middle of what is not background."""
    weight = (255 - image.astype(float).mean(-1)).clip(8) - 8
    return float((weight.sum(0) * np.arange(image.shape[1])).sum() / weight.sum())


def test_self_reenactment_reproduces_the_clip(ball, tmp_path):
    video = drive(ball, tmp_path / "self.mp4", ball.track, "track")
    track = read_track(ball.track)
    avatar = load_avatar(ball.avatar, HeadModel.load(ball.head), "cpu")
    expected = avatar.render(track)
    alpha = (expected < 1).any(-1).float()
    assert video.shape == (12, SIZE, SIZE, 3)
    assert 0.1 < alpha.mean() < 0.9
    difference = np.abs(video / 255 - expected.numpy()).mean((1, 2, 3))
    unlike = np.abs(video / 255 - expected.numpy()[::-1]).mean((1, 2, 3))
    assert difference.max() < 0.03  # the codec's 4:2:0 chroma on small patches
    assert difference.max() < unlike.max() / 2
    assert video[:, :3, :3].min() > 250


def test_batches_do_not_change_the_video(ball, tmp_path, monkeypatch):
    sizes = []
    frames = FrameRenderer.frames

    def noted(self, *codes):
        for color, alpha in frames(self, *codes):
            sizes.append(len(color))
            yield color, alpha

    monkeypatch.setattr(FrameRenderer, "frames", noted)
    drive(ball, tmp_path / "a.mp4", ball.track, "track")
    monkeypatch.setattr(draw, "BATCH", 5)
    drive(ball, tmp_path / "b.mp4", ball.track, "track")
    assert sizes == [8, 4, 5, 5, 2]
    np.testing.assert_allclose(
        random_images(tmp_path / "a.mp4").astype(int), random_images(tmp_path / "b.mp4"), atol=2
    )


def test_another_subjects_track_is_resampled(ball, tmp_path):
    write_track(tmp_path / "other.npz", make_track(arkit_like(), 60, seed=5, fps=30.0))
    video = drive(ball, tmp_path / "other.mp4", tmp_path / "other.npz", "track")
    assert len(video) == 50


@pytest.mark.parametrize("seconds", [1.0, 5.0])
def test_diffposetalk_with_sound(doll, tmp_path, seconds):
    voice = beep(tmp_path / "voice.wav", seconds)
    motion = speech(tmp_path / "speech.npz")
    out = tmp_path / "talk.mp4"
    video = drive(doll, out, motion, "diffposetalk", "--audio", str(voice))
    assert video.shape == (50, SIZE, SIZE, 3)
    still = drive(doll, tmp_path / "still.mp4", motion, "diffposetalk", "--head-motion", "still")
    moves = np.abs(np.diff(video.astype(int), axis=0)).mean()
    assert moves > 1.2 * np.abs(np.diff(still.astype(int), axis=0)).mean() > 0.1
    samples, rate = read_sound(out, 100)
    assert len(samples) / rate == pytest.approx(2.0, abs=0.05)
    loud = np.abs(samples[:, 0]) > 0.2
    assert np.flatnonzero(loud)[-1] / rate == pytest.approx(min(seconds, 2.0), abs=0.05)
    assert read_sound(tmp_path / "still.mp4", 100) is None


def test_arkit_table(ball, tmp_path):
    rows = [{"HeadRoll": 0.0, "EyeLookOutLeft": k / 120} for k in range(121)]
    video = drive(ball, tmp_path / "a.mp4", write_table(tmp_path / "a.csv", rows), "arkit")
    assert len(video) == 51
    turned = write_table(tmp_path / "b.csv", [{"HeadRoll": 0.4 * (k > 60)} for k in range(121)])
    video = drive(ball, tmp_path / "b.mp4", turned, "arkit", "--head-motion", "absolute")
    # A head that leans to the subject's right goes to the left of the image.
    assert center(video[0]) - center(video[-1]) > 0.3


@pytest.mark.parametrize(
    ("subject", "motion", "kind", "more", "expected"),
    [
        ("ball", "speech.npz", "diffposetalk", (), "codes are those of FLAME 2020"),
        ("doll", "take.csv", "arkit", (), "no expression shapes with ARKit's names"),
        ("doll", "ball.npz", "track", (), "tracked with head ict 1, the avatar's is flame 2020-"),
        ("ball", "speech.npz", "track", (), r"speech\.npz: the array 'ids' is missing"),
        ("ball", "speech.npz", "arkit", (), r"speech\.npz: cannot be read as a table"),
        ("ball", "ball.npz", "track", ("--audio", "take.csv"), "the sound cannot be read"),
        ("ball", "ball.npz", "track", ("--audio", "mute.mp4"), r"mute\.mp4: has no sound"),
    ],
)
def test_mismatched_inputs_are_one_line_and_no_video(
    request, ball, tmp_path, monkeypatch, subject, motion, kind, more, expected
):
    monkeypatch.chdir(tmp_path)
    speech(Path("speech.npz"))
    write_table(Path("take.csv"), [{}] * 70)
    Path("ball.npz").write_bytes(ball.track.read_bytes())
    drive(ball, Path("mute.mp4"), ball.track, "track")
    before = set(tmp_path.iterdir())
    with pytest.raises(UserError, match=expected) as error:
        drive(request.getfixturevalue(subject), Path("out.mp4"), Path(motion), kind, *more)
    assert "\n" not in str(error.value)
    assert set(tmp_path.iterdir()) == before


def test_a_track_of_another_head_than_the_avatars_is_one_line(ball, doll, tmp_path):
    arguments = ["--avatar", str(ball.avatar), "--head", str(ball.head), "--track", str(doll.track)]
    with pytest.raises(UserError, match="the track was made with head model flame"):
        script.main([*arguments, "--motion", str(ball.track), "--kind", "track", "--scratch",
                     str(tmp_path / "s"), "--out", str(tmp_path / "a.mp4")])  # fmt: skip


def test_resampled_frames_match_the_motion(doll, tmp_path, monkeypatch):
    motion, voice = speech(tmp_path / "speech.npz"), beep(tmp_path / "voice.wav", 1.0)
    monkeypatch.setattr(Scratch, "clear", lambda self: None)
    joined = drive(doll, tmp_path / "parts.mp4", motion, "diffposetalk", "--audio", str(voice))
    states = sorted((doll.head.parent / "scratch").rglob("*.mp4"))
    separate = [random_images(path) for path in states]
    assert [len(part) for part in separate] == [16, 16, 16, 2]
    np.testing.assert_array_equal(joined, np.concatenate(separate))
    with av.open(str(tmp_path / "parts.mp4")) as file:
        video, sound = file.streams.video[0], file.streams.audio[0]
        times = [float(frame.time) for frame in file.decode(video=0)]
        np.testing.assert_allclose(times, np.arange(50) / 25, atol=1e-6)
        assert float(video.duration * video.time_base) == pytest.approx(2.0)
        assert float(sound.duration * sound.time_base) == pytest.approx(2.0, abs=0.05)
        keys = [round(float(p.pts * p.time_base) * 25) for p in packets(file) if p.is_keyframe]
    assert keys == [0, 16, 32, 48]


def packets(file):
    file.seek(0)
    return [packet for packet in file.demux(video=0) if packet.dts is not None]


def test_a_resumed_video_has_equal_bytes(doll, tmp_path, monkeypatch):
    motion, out = speech(tmp_path / "speech.npz"), tmp_path / "b.mp4"
    drive(doll, tmp_path / "a.mp4", motion, "diffposetalk")
    frames, drawn = FrameRenderer.frames, []

    def stops(self, *codes):
        drawn.append(len(codes[0]))
        if len(drawn) == 3:
            raise Stopped
        return frames(self, *codes)

    monkeypatch.setattr(FrameRenderer, "frames", stops)
    with pytest.raises(Stopped):
        drive(doll, out, motion, "diffposetalk")
    assert not out.exists()
    states = sorted((doll.head.parent / "scratch").rglob("*.mp4"))
    assert [path.name[:6] for path in states] == ["00000-", "00001-"]
    # A damaged part is drawn again, a whole one is not.
    states[0].write_bytes(states[0].read_bytes()[:-9])
    drive(doll, out, motion, "diffposetalk")
    assert drawn[3:] == [16, 16, 2]
    assert out.read_bytes() == (tmp_path / "a.mp4").read_bytes()
    assert not list((doll.head.parent / "scratch").rglob("*.mp4"))


def test_another_motion_starts_over_and_another_sound_does_not(doll, tmp_path, monkeypatch):
    motion, out = speech(tmp_path / "speech.npz"), tmp_path / "b.mp4"
    join = run.join_videos
    monkeypatch.setattr(run, "join_videos", lambda *_: (_ for _ in ()).throw(Stopped))
    with pytest.raises(Stopped):
        drive(doll, out, motion, "diffposetalk")
    monkeypatch.setattr(run, "join_videos", join)
    frames, drawn = FrameRenderer.frames, []
    monkeypatch.setattr(
        FrameRenderer, "frames", lambda self, *codes: drawn.append(1) or frames(self, *codes)
    )
    drive(doll, out, motion, "diffposetalk", "--audio", str(beep(tmp_path / "a.wav", 1.0)))
    assert not drawn
    drive(doll, out, motion, "diffposetalk", "--blinks", "no")
    assert len(drawn) == 4


def test_backgrounds(ball, tmp_path):
    rows = np.zeros((20, 30, 3), np.uint8)
    rows[:, 15:] = 250
    (tmp_path / "room.png").write_bytes(encode_png(rows))
    asked = [f"--background={tmp_path / 'room.png'}"]
    video = drive(ball, tmp_path / "a.mp4", ball.track, "track", *asked)
    assert video[:, 1:4, 1:4].max() < 12
    assert video[:, 1:4, -4:-1].min() > 238
    blue = drive(ball, tmp_path / "b.mp4", ball.track, "track", "--background=#2040ff")
    assert np.abs(blue[:, 1:4, 1:4].astype(int) - (0x20, 0x40, 0xFF)).max() < 12
    white = drive(ball, tmp_path / "c.mp4", ball.track, "track")
    seen = np.abs(blue.astype(int) - (0x20, 0x40, 0xFF)).max(-1) > 60
    assert 0.1 < seen.mean() < 0.9
    assert np.abs(white.astype(int) - blue)[:, :5, :5].max() > 100


def test_alpha_over_white_is_the_video_on_white(ball, tmp_path):
    drive(ball, tmp_path / "a.mp4", ball.track, "track", "--background=white")
    white = random_images(tmp_path / "a.mp4") / 255
    out = tmp_path / "a.png.zip"
    script.main([
        *ball.arguments(), "--motion", str(ball.track), "--kind", "track", "--scratch",
        str(tmp_path / "s"), "--out", str(out),
    ])  # fmt: skip
    with FrameStore([out]) as store:
        assert store.ids == list(range(1, 13))
        for frame_id in store.ids:
            (tmp_path / "1.png").write_bytes(store.read(frame_id))
            with open_image(tmp_path / "1.png") as image:
                pixels = np.array(image) / 255
            cover = pixels[..., 3:]
            over = pixels[..., :3] * cover + 1 - cover
            assert np.abs(over - white[frame_id - 1]).mean() < 0.03
            assert cover[:3, :3].max() == 0
            assert cover.max() > 0.5


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("--background=" + 5000 * "x", r"xxx\.\.\.: cannot be read \(File name too long\)"),
        ("--background=take.csv", r"take.csv: cannot be read as an image \(it is no PNG, JPEG"),
        ("--background=nowhere.png", "nowhere.png: cannot be read as an image"),
        ("--background=#12", "background '#12': use auto, white"),
        ("--background=transparent", "has no alpha channel; ask for .mov, .webm, .png.zip"),
        ("--background=own", "whose folder is not given"),
        ("--body=torso", "has no torso for body torso; train it with train.body torso"),
        ("--body=paste", "the subject's clip"),
    ],
)
def test_looks_that_cannot_be_shown_are_one_line(ball, tmp_path, monkeypatch, asked, expected):
    monkeypatch.chdir(tmp_path)
    write_table(Path("take.csv"), [{}])
    with pytest.raises(UserError, match=expected) as error:
        drive(ball, Path("out.mp4"), ball.track, "track", asked)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["take.csv"]
