"""Whole motions from speech: length, lips, liveliness, streaming, files."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from headsplat.drive.kinds import RELATIVE, STILL, MotionOptions
from headsplat.drive.motion_file import read_motion_file, write_motion
from headsplat.frame_code import FrameCode
from headsplat.rotations import axis_angle_from_matrix
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz, write_npz
from headsplat.speech import own, phones
from headsplat.speech.audio import RATE, read_speech
from headsplat.speech.clip import prepare
from headsplat.speech.closures import close_lips
from headsplat.speech.learn import fit_voice
from headsplat.speech.lips import Lips
from headsplat.speech.motion import read_speech_motion
from headsplat.speech.own import speech_motion
from headsplat.speech.pauses import pausing
from headsplat.speech.phones import Phones
from headsplat.speech.run import speak, subject_of
from headsplat.speech.stream import Speaker
from headsplat.speech.texture import loop_clip, play_clip, usable_runs
from headsplat.speech.visemes import viseme_values
from headsplat.synthetic.score import other_words, write_hello, write_wav
from headsplat.synthetic.voice import SAMPLE_RATE
from tests.unit.driven import flame_like
from tests.unit.spoken import spoken_clip


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory):
    """Clip, subject, voice, and other words as 16 kHz samples."""
    clip, folder = spoken_clip(), tmp_path_factory.mktemp("motion")
    write_wav(folder / "clip.wav", clip.samples, SAMPLE_RATE)
    write_wav(folder / "words.wav", other_words(clip.head, 6.0).samples, SAMPLE_RATE)
    learned, _ = fit_voice(
        prepare(clip.track, read_speech(folder / "clip.wav"), clip.head)[0], None, None
    )
    subject = subject_of(clip.head, clip.track, "the track")
    return SimpleNamespace(
        clip=clip, subject=subject, voice=learned, folder=folder,
        lips=Lips(clip.head, clip.track.identity()),
        words=read_speech(folder / "words.wav").samples,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def without_phones(monkeypatch: pytest.MonkeyPatch):
    """As without PocketSphinx, so that results do not depend on what is installed."""
    monkeypatch.setattr(phones, "pocketsphinx", lambda: None)


def speeds(rotation: torch.Tensor, fps: float = 25.0) -> np.ndarray:
    turn = axis_angle_from_matrix(rotation[:-1].mT @ rotation[1:]).norm(dim=-1)
    return np.rad2deg(turn.numpy()) * fps


def test_a_motion_is_as_long_as_its_sound_and_deterministic(voice):
    for count in (len(voice.words), RATE // 3, 10):
        samples = voice.words[:count]
        motion = speech_motion(samples, voice.subject, voice.clip.track, voice.voice)
        assert len(motion.times) == max(1, round(count / RATE * 25))
    again = [speech_motion(voice.words, voice.subject, voice.clip.track, voice.voice)
             for _ in range(2)]  # fmt: skip
    for name in ("condition", "rotation", "translation"):
        assert torch.equal(*(getattr(motion, name) for motion in again))


def test_nothing_freezes_and_nothing_jumps(voice):
    samples = np.tile(voice.words, 3)
    motion = speech_motion(samples, voice.subject, voice.clip.track, voice.voice)
    made, seen = speeds(motion.rotation), speeds(voice.clip.track.poses(torch.float64)[0])
    assert 0.6 < made.mean() / seen.mean() < 1.5
    assert made.max() < 1.5 * seen.max()
    assert (made < 0.2).mean() < 0.02
    shift, clip_shift = (
        np.linalg.norm(np.diff(t, axis=0), axis=1)
        for t in (motion.translation.numpy(), voice.clip.track.t)
    )
    assert shift.max() < 1.5 * clip_shift.max()
    code = FrameCode(motion.condition)
    assert code.eyelids.max() > 0.9  # blinks
    assert code.eyelids.diff(dim=0).abs().max() <= 1.2 * np.diff(
        voice.clip.track.eyelids, axis=0).max()  # fmt: skip
    vertices = voice.lips.shapes(motion.condition).vertices
    moved = np.linalg.norm(vertices[5:] - vertices[:-5], axis=-1).max(1)
    assert moved.min() > 1e-3


def test_lips_rest_in_silence(voice):
    sound = np.concatenate([voice.words[: 2 * RATE], np.zeros(2 * RATE, np.float32)])
    motion = speech_motion(sound, voice.subject, voice.clip.track, voice.voice)
    opening = voice.lips.shapes(motion.condition).opening
    own_opening = voice.lips.shapes(voice.clip.track.codes().vector).opening
    assert opening[62:].max() < np.percentile(own_opening, 25)
    assert opening[:45].max() > np.percentile(own_opening, 60)
    mels = own.log_mels(sound)
    assert pausing(mels, np.array([1.0, 3.5])).tolist() == [0.0, 1.0]


def test_a_silent_sound_is_named_and_moves_the_head(voice, caplog):
    motion = speech_motion(
        np.zeros(2 * RATE, np.float32), voice.subject, voice.clip.track, voice.voice
    )
    assert "silent" in caplog.text
    assert speeds(motion.rotation).min() > 0


def test_head_motion_still(voice):
    motion = speech_motion(
        voice.words, voice.subject, voice.clip.track, voice.voice, head_motion=STILL
    )
    assert speeds(motion.rotation).max() == pytest.approx(0, abs=1e-4)


def test_a_short_clip_gets_synthetic_motion(voice, caplog):
    caplog.set_level("INFO")
    track = voice.clip.track[:200]
    motion = speech_motion(voice.words, voice.subject, track, voice.voice)
    assert "too short to play from" in caplog.text
    made = speeds(motion.rotation)
    assert 0.3 < made.mean() < 20
    assert made.max() < 60
    code = FrameCode(motion.condition)
    assert code.eyelids.max() > 0.9
    assert code.eyes.std(0).max() > 0.005


def test_cuts_and_gaps_are_not_played_across(voice):
    track = voice.clip.track
    R = track.R.copy()
    R[300:] = R[300:] @ np.diag([-1.0, 1, -1])
    gone = track.interpolated.copy()
    gone[450] = True
    runs = usable_runs(replace(track, R=R, interpolated=gone))
    assert [(run[0], run[-1]) for run in runs] == [(0, 299), (300, 449), (451, 599)]


def test_pauses_of_the_clip_are_played_in_pauses(voice):
    track, fps = voice.clip.track, 25
    talks = (np.arange(600) // 150) % 2 == 0
    wanted = np.repeat([True, False, True], 3 * fps)
    level = np.zeros(600)
    # Motion that costs nothing, so that only the speech decides.
    flat = replace(track, R=np.tile(track.R[:1], (600, 1, 1)), t=np.tile(track.t[:1], (600, 1)),
                   eyes=np.tile(track.eyes[:1], (600, 1)),
                   exp=talks[:, None] + 0 * track.exp)  # fmt: skip
    made = play_clip(flat, len(wanted), wanted, 0.0 * wanted, talks, level)
    agree = (made.condition[:, 0].numpy() > 0.5) == wanted
    assert agree.mean() > 0.9


def test_an_endless_loop_has_no_seam(voice):
    loop = loop_clip(voice.clip.track, 12.0)
    twice = torch.cat([loop.rotation, loop.rotation])
    assert speeds(twice).max() < 1.5 * speeds(voice.clip.track.poses(torch.float64)[0]).max()
    assert len(loop.condition) == 300


def test_streamed_chunks_give_the_frames_of_the_whole(voice):
    speaker = Speaker(voice.subject, voice.clip.track, voice.voice)
    rng, sound, batches, at = np.random.default_rng(0), voice.words, [], 0
    while at < len(sound):
        step = int(rng.integers(1, 4000))
        batch = speaker.feed(sound[at : at + step])
        at += step
        # A frame comes as soon as its look-ahead is there.
        due = int((min(at, len(sound)) / RATE - speaker.latency - 0.021) * 25)
        if batch is not None:
            batches.append(batch)
            assert batch.id[-1] >= due
    batches.append(speaker.finish())
    ids = np.concatenate([batch.id for batch in batches])
    assert ids.tolist() == list(range(1, 151))
    code = torch.cat([batch.code.vector for batch in batches])
    whole = speech_motion(sound, voice.subject, voice.clip.track, voice.voice)
    a, b = (voice.lips.shapes(c).opening for c in (code, whole.condition))
    assert np.corrcoef(a, b)[0, 1] > 0.9
    assert speaker.latency < 0.1


def test_a_trunk_follows_the_head_of_a_speaker_less_than_it_turns(voice):
    track = voice.clip.track
    moving = replace(track, trunk_R=track.R, trunk_t=track.t)
    speaker = Speaker(replace(voice.subject, track=moving), moving, voice.voice)
    (batch, *_) = speaker.frames([voice.words])
    turns = batch.rotation.double()
    below = turns @ batch.trunk[..., :3].double()
    away = [axis_angle_from_matrix(t[0].T @ t).norm(dim=1).max() for t in (turns, below)]
    assert 0 < away[1] < 0.5 * away[0]
    loop = speaker._texture.rotation @ speaker._trunk[..., :3].double()
    assert speeds(torch.cat([loop[-2:], loop[:2]])).max() < 1.5 * speeds(loop).max()
    assert Speaker(voice.subject, track, voice.voice).feed(voice.words).trunk is None


def test_all_frames_of_a_sound_in_chunks(voice):
    speaker = Speaker(voice.subject, voice.clip.track, voice.voice)
    batches = speaker.frames(np.split(voice.words[: 2 * RATE], 50))
    assert np.concatenate([batch.id for batch in batches]).tolist() == list(range(1, 51))


@pytest.mark.parametrize(
    "chunk",
    [
        np.zeros(9, np.int16), np.zeros((9, 2), np.float32), np.full(9, np.nan), np.full(9, 900.0),
        b"x", None,
    ],
)  # fmt: skip
def test_chunks_of_another_kind_are_one_line(voice, chunk):
    speaker = Speaker(voice.subject, voice.clip.track, voice.voice)
    with pytest.raises(UserError, match="a chunk .* 16.bit"):
        speaker.feed(chunk)


def test_a_finished_speaker_says_no_more(voice):
    speaker = Speaker(voice.subject, voice.clip.track, voice.voice)
    assert speaker.feed(np.zeros(0)) is None
    assert speaker.finish().id.tolist() == [1]
    assert speaker.finish() is None
    with pytest.raises(UserError, match="this speaker was finished"):
        speaker.feed(voice.words)


@pytest.mark.parametrize("fps", [0.1, 1.0, 3.0])
def test_any_frame_rate_can_be_played(voice, fps):
    track = replace(voice.clip.track, fps=fps)
    motion = speech_motion(voice.words, voice.subject, track, None)
    assert len(motion.times) == max(1, round(len(voice.words) / RATE * fps))
    assert loop_clip(track, 60.0) is not None


def test_closures_reach_the_closed_lips(voice):
    times = np.arange(50) / 25
    values, closed = np.ones((50, 2)), np.array([0.0, 0.5])
    made = close_lips(values, times, np.array([[1.0, 1.1]]), closed)
    assert made[25, 0] == pytest.approx(0.5)
    assert made[25, 1] == pytest.approx(0.75)
    assert made[[0, 20, 35]].tolist() == values[[0, 20, 35]].tolist()


def test_visemes_close_round_and_open(voice):
    spans = np.array([[0.0, 0.4], [0.4, 0.8], [0.8, 1.2], [1.2, 1.6]])
    made = viseme_values(
        Phones(("AA", "M", "UW", "SIL"), spans), np.array([0.2, 0.6, 1.0]) - 0.04,
        np.full(3, 0.6), voice.clip.head, voice.voice.closed, 0.2,
    )  # fmt: skip
    condition = own.MouthColumns.of(voice.clip.head).put(
        voice.clip.track.codes().vector[:3], made
    )  # fmt: skip
    shapes = voice.lips.shapes(condition)
    assert shapes.opening[0] > 8 > 4 > shapes.opening[1]
    assert shapes.width[2] < shapes.width[0] - 2


def test_foreign_sounds_follow_the_phones(voice, monkeypatch, caplog):
    caplog.set_level("INFO")
    found = Phones(("AA", "SIL"), np.array([[0.5, 1.5], [1.5, 2.0]]))
    monkeypatch.setattr(own, "find_phones", lambda *_: found)
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32)
    motion = speech_motion(noise, voice.subject, voice.clip.track, voice.voice)
    assert "100 % by the rules of phones" in caplog.text
    jaw = voice.lips.shapes(motion.condition).jaw
    assert jaw[22] > jaw[45] + 0.05


def test_without_a_voice_and_phones_the_mouth_opens_with_loudness(voice, caplog):
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32)
    noise[RATE:] *= 1e-3
    motion = speech_motion(noise, voice.subject, voice.clip.track, None)
    assert "the mouth only opens with loudness" in caplog.text
    jaw = voice.lips.shapes(motion.condition).jaw
    assert jaw[5:22].mean() > jaw[35:].mean() + 0.03


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\u0431\u044b\u0442\u044c \u0438\u043b\u0438 \u043d\u0435", "not in the Latin alphabet"),
        ("12 34", "holds no words"),
        (b"\xff\xfe\x00", "cannot be read as text"),
        (b"a " * (1 << 20), "larger than the 1 MiB that it may have"),
    ],
)
def test_transcripts_that_cannot_be_aligned(tmp_path: Path, text, message):
    path = tmp_path / "t.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message):
        phones.find_phones(np.zeros(RATE, np.float32), path)


def test_the_stage_writes_a_motion_that_is_read_back(voice, tmp_path):
    track, _, head = voice.clip.files(tmp_path)
    voice.voice.save(tmp_path / "voice.npz")
    write_hello(tmp_path / "hello.wav")
    options = SimpleNamespace(
        files={"voice": tmp_path / "voice.npz"}, motion=MotionOptions(RELATIVE)
    )
    speak(tmp_path / "hello.wav", head, track, own.speak, options, tmp_path / "hello.npz")
    motion = read_motion_file(tmp_path / "hello.npz", voice.subject, MotionOptions())
    assert len(motion.times) == round(read_speech(tmp_path / "hello.wav").seconds * 25)
    still = read_motion_file(tmp_path / "hello.npz", voice.subject, MotionOptions(STILL))
    assert speeds(still.rotation).max() < 1e-3


def test_the_voice_phones_leaves_the_learned_voice_alone(voice, tmp_path):
    voice.voice.save(tmp_path / "voice.npz")
    write_hello(tmp_path / "hello.wav")

    def spoken(name: str, file: Path | None):
        options = MotionOptions(voice=name, voice_file=file)
        return read_speech_motion(tmp_path / "hello.wav", voice.subject, options).condition

    by_rules = spoken("phones", None)
    assert torch.equal(spoken("phones", tmp_path / "voice.npz"), by_rules)
    assert not torch.equal(spoken("personal", tmp_path / "voice.npz"), by_rules)


def test_damaged_motions_end_in_one_line(voice, tmp_path):
    motion = speech_motion(voice.words, voice.subject, voice.clip.track, voice.voice)
    write_motion(tmp_path / "good.npz", motion, voice.clip.head)
    arrays = read_npz(tmp_path / "good.npz")
    for name, value in {
        "times": arrays["times"][::-1],
        "condition": arrays["condition"][:, 1:],
        "rotation": arrays["rotation"] * np.nan,
        "translation": arrays["translation"].astype(int),
        "head_name": np.array("flame"),
    }.items():
        write_npz(tmp_path / "bad.npz", **(arrays | {name: value}))
        with pytest.raises(UserError, match="bad.npz"):
            read_motion_file(tmp_path / "bad.npz", voice.subject, MotionOptions())
    other = SimpleNamespace(head=flame_like())
    with pytest.raises(UserError, match="made for head procedural"):
        read_motion_file(tmp_path / "good.npz", other, MotionOptions())
