"""A learned voice as what drives a live avatar, from a file and from standard input."""

import asyncio
import sys

import numpy as np
import pytest

from headsplat.avatar_files import load_avatar, save_avatar
from headsplat.live.sources import SpeakerSource
from headsplat.speech.audio import RATE, read_speech
from headsplat.speech.clip import prepare
from headsplat.speech.learn import fit_voice
from headsplat.synthetic.score import write_wav
from headsplat.synthetic.voice import SAMPLE_RATE
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
