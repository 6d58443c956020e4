"""Speech from any sound file, and its log-mels."""

import wave
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from headsplat.runtime.errors import UserError
from headsplat.speech.audio import RATE, Speech, read_speech
from headsplat.speech.features import (
    BANDS,
    HOP,
    OFFSETS,
    Normalization,
    frame_windows,
    log_mels,
    spoken,
)


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 192_000])
def test_any_rate_becomes_16_khz(tmp_path: Path, rate: int):
    path = tmp_path / "a.wav"
    wavfile.write(path, rate, (tone(2, rate) * 32767).astype(np.int16))
    samples = read_speech(path).samples
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(2 * RATE, abs=RATE // 100)
    middle = samples[RATE // 2 : RATE + RATE // 2]
    assert np.abs(middle - tone(1, RATE)).max() < 0.02


def test_double_precision_and_six_channels(tmp_path: Path):
    path = tmp_path / "a.wav"
    wavfile.write(path, 48_000, np.repeat(tone(1, 48_000)[:, None], 6, 1))
    samples = read_speech(path).samples
    assert np.abs(samples).max() > 0.2
    assert np.abs(samples).max() <= 1


def test_more_channels_than_can_be_mixed_are_no_sound(tmp_path: Path, caplog):
    path = tmp_path / "a.wav"
    wavfile.write(path, RATE, np.repeat(tone(1, RATE)[:, None].astype(np.float32), 32, 1))
    with pytest.raises(UserError, match="a.wav: has no sound that can be decoded"):
        read_speech(path)
    assert "sound of 32 channels at 16000 Hz cannot be converted" in caplog.text


def test_clipped_sound_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "a.wav"
    wavfile.write(path, RATE, (8 * tone(1, RATE)).clip(-1, 1).astype(np.float32))
    read_speech(path)
    assert "clipped" in caplog.text


def test_too_long_a_sound_is_refused(tmp_path: Path):
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes(8000 * 70))
    with pytest.raises(UserError, match="longer than 1 minutes; cut it"):
        read_speech(path, 60.0)
    assert read_speech(path, 60.0, cut=True).seconds == 60


def test_a_file_without_sound_is_refused(tmp_path: Path):
    empty = tmp_path / "empty.wav"
    wavfile.write(empty, RATE, np.zeros(0, np.int16))
    text = tmp_path / "text.wav"
    text.write_text("no sound\n")
    for path in (empty, text, tmp_path / "none.wav"):
        with pytest.raises(UserError, match=path.name):
            read_speech(path)


def test_silence_and_lengths():
    assert Speech(np.zeros(RATE, np.float32)).silent
    assert not Speech(tone(1, RATE).astype(np.float32)).silent
    assert Speech(np.zeros(RATE + 100, np.float32)).frames(25.0) == 25
    assert Speech(np.zeros(10, np.float32)).frames(25.0) == 1


def test_a_tone_is_loudest_in_its_band():
    low, high = (log_mels(tone(1, RATE, f).astype(np.float32))[50].argmax() for f in (300, 4000))
    assert 2 < low < high < BANDS


def test_speech_is_told_from_pauses():
    sound = np.concatenate([tone(1, RATE), np.zeros(RATE), tone(1, RATE), np.zeros(RATE // 5),
                            tone(1, RATE)])  # fmt: skip
    speech = spoken(log_mels(sound.astype(np.float32)))
    assert speech[10:90].all()
    assert not speech[110:190].any()
    assert speech[210:410].all()  # a stop of 0.2 s belongs to the speech
    assert not spoken(log_mels(np.zeros(RATE, np.float32))).any()


def test_gain_and_weak_noise_change_normalized_features_little():
    rng = np.random.default_rng(0)
    sound = rng.standard_normal(3 * RATE).astype(np.float32) * np.sin(np.arange(3 * RATE) / 900) / 9
    mels = [log_mels(s) for s in (sound, 0.1 * sound)]
    plain, soft = (Normalization.of(m).apply(m) for m in mels)
    assert np.abs(plain - soft).mean() < 0.02


def test_windows_are_interpolated_and_repeat_the_ends():
    mels = np.arange(100, dtype=np.float32)[:, None].repeat(BANDS, 1)
    windows = frame_windows(mels, np.array([0.0, 0.505])).reshape(2, len(OFFSETS), BANDS)
    assert windows[0, :, 0].tolist() == np.maximum(OFFSETS, 0).tolist()
    assert windows[1, :, 0] == pytest.approx(0.505 * RATE / HOP + OFFSETS)
