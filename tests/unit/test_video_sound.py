"""Sound of all kinds of files: several tracks, changing layouts, gaps, numbers that are none."""

import logging
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from headsplat.video.probe import probe_video
from headsplat.video.sound import read_sound
from tests.unit.video_files import numbered_image

RATE = 48000


def tone(seconds: float, rate: int = RATE) -> np.ndarray:
    """440 Hz, float32 (1, n)."""
    return np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)[None].astype(
        np.float32
    )


def sound_file(
    path: Path, codec: str, blocks: list[tuple[int, np.ndarray]], rate: int = RATE
) -> Path:
    """Blocks (start in samples, float32 (channels, n)) in a file."""
    with av.open(str(path), "w") as file:
        layout = "mono" if len(blocks[0][1]) == 1 else "stereo"
        stream = file.add_stream(codec, rate=rate, layout=layout)
        kind = stream.codec_context.format.name
        for start, block in blocks:
            values = block
            if kind.startswith("s16"):
                values = (block * 32767).astype(np.int16)
            if not kind.endswith("p"):
                values = values.T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values), kind, layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def frequency(samples: np.ndarray, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples))
    return float(np.argmax(spectrum) * rate / len(samples))


@pytest.mark.parametrize("stereo_first", [True, False])
def test_a_layout_and_a_rate_that_change_inside(tmp_path: Path, stereo_first: bool) -> None:
    stereo = sound_file(tmp_path / "a.mp2", "mp2", [(0, tone(2).repeat(2, 0))])
    mono = sound_file(tmp_path / "b.mp2", "mp2", [(0, tone(2, 32000))], 32000)
    parts = [stereo, mono] if stereo_first else [mono, stereo]
    path = tmp_path / "both.mp2"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    samples, rate = read_sound(path, 100)
    assert samples.shape[1] == (2 if stereo_first else 1)
    assert len(samples) / rate == pytest.approx(4, abs=0.15)
    for second in (0.5, 2.5):
        part = samples[round(second * rate) : round((second + 1) * rate), 0]
        assert frequency(part, rate) == pytest.approx(440, abs=3)
        assert np.abs(part).max() == pytest.approx(1, abs=0.1)


def with_sound(path: Path, tracks: int) -> Path:
    """Three seconds of images with silent tracks, but for the last one, a tone."""
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        sounds = [file.add_stream("aac", rate=RATE, layout="mono") for _ in range(tracks)]
        for index in range(75):
            frame = av.VideoFrame.from_ndarray(numbered_image(index), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            file.mux(video.encode(frame))
        for number, stream in enumerate(sounds, 1):
            block = tone(3) * (number == tracks)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            file.mux(stream.encode(frame))
        for stream in (video, *sounds):
            file.mux(stream.encode(None))
    return path


def without_decoder(path: Path, tracks: int) -> None:
    """Give the first `tracks` sound tracks a format that no decoder knows."""
    data = path.read_bytes()
    assert data.count(b"mp4a") >= tracks
    path.write_bytes(data.replace(b"mp4a", b"apac", tracks).replace(b"esds", b"dapa", tracks))


def test_a_track_without_a_decoder_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = with_sound(tmp_path / "two.mp4", 2)
    without_decoder(path, 1)
    info = probe_video(path, tmp_path / "video.json")
    assert info.audio == {"sample_rate": RATE, "channels": 1}
    samples, rate = read_sound(path, 10)
    assert frequency(samples[: 2 * rate, 0], rate) == pytest.approx(440, abs=1)
    assert caplog.text == ""


def test_no_track_with_a_decoder_is_no_sound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = with_sound(tmp_path / "one.mp4", 1)
    without_decoder(path, 1)
    assert probe_video(path, tmp_path / "video.json").audio is None
    assert "no decoder knows the format of its sound" in caplog.text
    assert read_sound(path, 10) is None


def test_numbers_that_are_none_become_silence(tmp_path: Path) -> None:
    block = tone(1)
    block[0, 100:200] = np.nan
    block[0, 300] = np.inf
    samples, _ = read_sound(sound_file(tmp_path / "nan.wav", "pcm_f32le", [(0, block)]), 10)
    assert np.isfinite(samples).all()
    assert (samples[100:200] == 0).all()
    assert np.abs(samples).max() == 1


def test_only_what_is_needed_is_read(tmp_path: Path) -> None:
    later = 5 * 3600 * RATE
    blocks = [(0, tone(1)), (later, tone(1))]
    path = sound_file(tmp_path / "gap.mka", "pcm_f32le", blocks)
    samples, rate = read_sound(path, 20)
    assert len(samples) == 20 * rate
    assert np.abs(samples[rate:]).max() == 0
    assert len(read_sound(path, 0.5)[0]) == RATE // 2


@pytest.mark.parametrize("rate", [1000, 1_000_000])
def test_absurd_rates_become_a_usual_one(tmp_path: Path, rate: int) -> None:
    path = sound_file(tmp_path / "odd.wav", "pcm_s16le", [(0, np.zeros((1, rate)))], rate)
    samples, got = read_sound(path, 10)
    assert got == RATE
    assert len(samples) == pytest.approx(RATE, rel=0.2)


def test_empty_sound_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with wave.open(str(tmp_path / "empty.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
    assert read_sound(tmp_path / "empty.wav", 10) is None
    assert "empty" in caplog.text
