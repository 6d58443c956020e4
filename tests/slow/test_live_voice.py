"""A learned voice as what drives a live avatar, from a file and from standard input."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import av
import numpy as np
import pytest

from headsplat.avatar_files import load_avatar, save_avatar
from headsplat.live.sources import SpeakerSource
from headsplat.live.spoken import Shown, SpokenStream
from headsplat.speech.audio import RATE, read_speech
from headsplat.speech.clip import prepare
from headsplat.speech.learn import fit_voice
from headsplat.synthetic.score import write_wav
from headsplat.synthetic.voice import SAMPLE_RATE
from tests.conftest import ROOT
from tests.unit.driven import make_avatar
from tests.unit.spoken import spoken_clip


@pytest.fixture(scope="module")
def voiced(tmp_path_factory):
    """An avatar of the built-in subject with a learned voice beside it, and a sound."""
    clip, folder = spoken_clip(), tmp_path_factory.mktemp("voiced")
    model = folder / "avatar" / "model"
    (folder / "voice").mkdir()
    model.mkdir(parents=True)
    track, sound, head = clip.files(folder)
    save_avatar(model, make_avatar(clip.head, np.asarray(clip.track.shape)), head, track)
    prepared = prepare(clip.track, read_speech(sound), clip.head)[0]
    fit_voice(prepared, None, None)[0].save(folder / "voice" / "voice.npz")
    write_wav(folder / "words.wav", clip.samples[: 2 * SAMPLE_RATE], SAMPLE_RATE)
    return load_avatar(model, device="cpu"), folder / "words.wav"


def test_a_voice_speaks_at_its_own_rate(voiced, monkeypatch, tmp_path):
    avatar, sound = voiced
    samples = (read_speech(sound).samples * 32767).astype("<i2").tobytes()
    (tmp_path / "words.s16").write_bytes(samples + b"\1")  # an odd byte

    async def poses(given: str) -> tuple[list, float]:
        source, seen = SpeakerSource(avatar, given, 25.0), []
        async with source:
            while (arrived := await source.slot.take()) is not None:
                seen.append((arrived.seconds, source.pose(arrived).condition))
        return [pose for _, pose in seen], seen[-1][0] - seen[0][0]

    async def case():
        from_file, seconds = await poses(str(sound))
        count = round(len(samples) / 2 / RATE * 25)
        assert abs(len(from_file) - count) <= 1
        assert seconds == pytest.approx((count - 1) / 25, abs=0.6)
        with open(tmp_path / "words.s16", "rb") as file:
            monkeypatch.setattr(sys, "stdin", file)
            piped, _ = await poses("-")
        assert len(piped) == len(from_file)
        np.testing.assert_allclose(np.array(piped), np.array(from_file), atol=0.03)
        assert np.array(piped).std(0).max() > 0.01  # the mouth moves

    asyncio.run(asyncio.wait_for(case(), 60))


def talk(avatar, sound, rate: int) -> tuple[SpokenStream, list[Shown]]:
    """What a stream shows of a sound between two silences."""
    stream = SpokenStream(avatar, rate, height=32)
    samples = (resampled(read_speech(sound).samples, rate) * 32767).astype(np.int16)
    shown = [s for _ in range(10) for s in stream.wait()]
    for piece in np.array_split(samples, 37):
        shown += stream.say(piece)
    shown += stream.flush()
    return stream, shown


def resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    count = round(len(samples) * rate / RATE)
    return np.interp(np.arange(count) / rate, np.arange(len(samples)) / RATE, samples)


@pytest.mark.parametrize("rate", [16000, 24000, 44100])
def test_a_stream_shows_every_piece_of_sound_once_with_its_image(voiced, rate):
    avatar, sound = voiced
    stream, shown = talk(avatar, sound, rate)
    said = np.concatenate([s.sound for s in shown if s.sound is not None])
    samples = (resampled(read_speech(sound).samples, rate) * 32767).astype(np.int16)
    np.testing.assert_array_equal(said[: len(samples)], samples)
    assert not said[len(samples) :].any()
    assert len(said) - len(samples) < rate / 25
    assert all(s.image.shape == (32, 32, 3) for s in shown)
    # Silence is shown first, and then image and sound go side by side.
    heard = [s.sound is not None for s in shown]
    assert heard == sorted(heard)
    assert heard.index(True) == 10
    images = np.array([s.image for s in shown]).astype(int)
    assert np.abs(np.diff(images, axis=0)).max() > 5


def test_an_interrupted_stream_says_no_more_and_goes_on(voiced):
    avatar, sound = voiced
    stream, _ = talk(avatar, sound, 16000)
    list(stream.say(np.full(16000 // 25 * 3 + 100, 1000, np.int16)))
    stream.forget()
    later = [s for _ in range(12) for s in stream.wait()]
    assert len(later) >= 11
    assert all(s.sound is None for s in later)


def test_silence_does_not_change_the_levels_of_a_recording(voiced):
    avatar, _ = voiced
    speaker = avatar.speaker()
    before = speaker._levels()
    for _ in range(100):
        speaker.feed(np.zeros(RATE, np.float32), recorded=False)
    np.testing.assert_array_equal(speaker._levels().mean, before.mean)


def test_livekits_runner_can_take_the_adapter(voiced, monkeypatch):
    """Against LiveKit's own types; no service is asked."""
    rtc = pytest.importorskip("livekit.rtc", reason="livekit-agents is not installed")
    types = pytest.importorskip("livekit.agents.voice.avatar", reason="as above")
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    from livekit_avatar import AvatarVideo

    avatar, sound = voiced
    samples = (resampled(read_speech(sound).samples, 24000) * 32767).astype(np.int16)

    async def case():
        video = AvatarVideo(str(avatar.folder), 24000, height=32)
        assert isinstance(video, types.VideoGenerator)
        assert (video.options.video_width, video.options.video_fps) == (32, 25.0)
        seen = [0, 0, []]
        for piece in np.array_split(samples, 50):
            await video.push_audio(rtc.AudioFrame(piece.tobytes(), 24000, 1, len(piece)))
        await video.push_audio(types.AudioSegmentEnd())
        async for frame in video:
            if isinstance(frame, types.AudioSegmentEnd):
                break
            if isinstance(frame, rtc.VideoFrame):
                assert (frame.width, frame.height) == (32, 32)
                seen[0] += 1
            else:
                seen[1] += 1
                seen[2].append(np.frombuffer(frame.data, np.int16))
        said = np.concatenate(seen[2])
        np.testing.assert_array_equal(said[: len(samples)], samples)
        assert seen[0] >= seen[1] == round(len(said) / 960)
        # Interrupted: what waits is dropped, and the avatar looks on.
        await video.push_audio(rtc.AudioFrame(samples.tobytes(), 24000, 1, len(samples)))
        video.clear_buffer()
        silent = 0
        async for frame in video:
            assert isinstance(frame, rtc.VideoFrame)
            silent += 1
            if silent == 10:
                break
        wrong = rtc.AudioFrame(samples.tobytes(), 48000, 1, len(samples))
        with pytest.raises(ValueError, match="sound of 48000 Hz, expected 24000"):
            await video.push_audio(wrong)

    asyncio.run(asyncio.wait_for(case(), 120))


def test_the_example_makes_a_video_of_a_piped_sound(voiced, tmp_path):
    avatar, sound = voiced
    samples = (read_speech(sound).samples * 32767).astype("<i2").tobytes()
    script, out = ROOT / "examples/speak_stream.py", tmp_path / "out.mp4"
    words = [sys.executable, script, avatar.folder, "--out", "-y", str(out)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(words, input=samples, check=True, env=environment, timeout=300)
    with av.open(str(out)) as file:
        assert abs(sum(1 for _ in file.decode(video=0)) - len(samples) / 2 / RATE * 25) <= 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_while_nothing_is_said(voiced, number):
    avatar, _ = voiced
    words = ["live", str(avatar.folder), "--in", "speaker", "--sound", "-", "--out", "stdout"]
    process = subprocess.Popen(
        [sys.executable, "-m", "headsplat.command.main", *words, "--height", "32"], cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.read(32 * 32 * 3)
    process.send_signal(number)
    begin = time.monotonic()
    while process.poll() is None and time.monotonic() < begin + 10:
        process.stdout.read1(1 << 16)
    assert process.wait(0) == 128 + number
    assert b"Traceback" not in process.stderr.read()
    process.stdin.close()
