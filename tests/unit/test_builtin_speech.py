"""Speech of the built-in subject: timing, lip motion and synthesized sound."""

import numpy as np
import pytest

from headsplat.synthetic.phones import LIP_CHANNELS, PHONES
from headsplat.synthetic.speech import compose_speech, lip_tracks
from headsplat.synthetic.voice import SAMPLE_RATE, synthesize


def loudness(sound: np.ndarray, times: np.ndarray, width: float = 0.02) -> np.ndarray:
    energy = np.concatenate([[0.0], np.cumsum(sound.astype(np.float64) ** 2)])
    low = ((times - width) * SAMPLE_RATE).astype(int).clip(0, len(sound))
    high = ((times + width) * SAMPLE_RATE).astype(int).clip(0, len(sound))
    return np.sqrt((energy[high] - energy[low]) / np.maximum(high - low, 1))


@pytest.mark.parametrize("seconds", [1.0, 3.0, 12.0])
def test_phones_fill_the_time_without_gaps(seconds):
    speech = compose_speech(seconds)
    assert speech.seconds == pytest.approx(seconds)
    assert np.all(np.diff(speech.starts) > 0)
    assert len(speech.names) == len(speech.starts) - 1
    assert speech.names[0] == speech.names[-1] == "-"
    assert len(speech.accents) >= 1


def test_every_phone_occurs_in_both_halves_of_the_clip():
    speech = compose_speech(12.0)
    early = {n for n, t in zip(speech.names, speech.starts[:-1], strict=True) if t < 6}
    late = {n for n, t in zip(speech.names, speech.starts[:-1], strict=True) if t >= 6}
    assert early == late


@pytest.mark.parametrize("seconds", [3.0, 12.0])
def test_jaw_moves_with_the_loudness_of_the_sound(seconds):
    speech = compose_speech(seconds)
    sound = synthesize(speech)
    times = np.arange(round(seconds * 25)) / 25
    jaw = lip_tracks(speech, times)[:, LIP_CHANNELS.index("jaw")]
    heard = loudness(sound, times)

    def match(lag: int) -> float:
        return np.corrcoef(np.roll(jaw, lag)[2:-2], heard[2:-2])[0, 1]

    assert match(0) > 0.8
    assert match(0) == max(match(lag) for lag in range(-2, 3))


def test_lips_close_in_the_middle_of_each_bilabial_and_bite_in_each_labiodental():
    speech = compose_speech(12.0)
    middle = (speech.starts[1:] + speech.starts[:-1]) / 2
    tracks = dict(zip(LIP_CHANNELS, lip_tracks(speech, middle).T, strict=True))
    names = np.array(speech.names)
    bilabial, bite = np.isin(names, ["m", "b", "p"]), np.isin(names, ["f", "v"])
    assert tracks["press"][bilabial].min() > 0.9
    assert tracks["jaw"][bilabial].max() < 0.1
    assert tracks["tuck"][bite].min() > 0.85
    assert tracks["jaw"][names == "aa"].min() > 0.8


def test_lip_tracks_stay_in_range_and_are_smooth():
    times = np.arange(0, 12, 0.005)
    tracks = lip_tracks(compose_speech(12.0), times)
    assert tracks.min() >= 0
    assert tracks.max() <= 1
    assert np.abs(np.diff(tracks, axis=0)).max() < 0.12


def test_sound_has_the_right_length_and_is_deterministic():
    speech = compose_speech(2.0)
    sound = synthesize(speech)
    assert sound.shape == (2 * SAMPLE_RATE,)
    assert sound.dtype == np.float32
    assert 0.3 < np.abs(sound).max() <= 1.0
    np.testing.assert_array_equal(sound, synthesize(speech))


def test_pauses_are_silent_and_hisses_lie_high():
    speech = compose_speech(6.0)
    sound = synthesize(speech)
    middle = (speech.starts[1:] + speech.starts[:-1]) / 2
    heard = loudness(sound, middle)
    names = np.array(speech.names)
    assert heard[names == "-"].max() < 0.02 * heard[names == "aa"].mean()

    def mean_hertz(name: str) -> float:
        at = int(middle[list(names).index(name)] * SAMPLE_RATE)
        power = np.abs(np.fft.rfft(sound[at - 1024 : at + 1024] * np.hanning(2048))) ** 2
        return float((np.fft.rfftfreq(2048, 1 / SAMPLE_RATE) * power).sum() / power.sum())

    assert mean_hertz("s") > 4000
    assert mean_hertz("aa") < 1500


def test_vowels_have_their_formants():
    speech = compose_speech(6.0)
    sound = synthesize(speech)
    start, end = (speech.starts[list(speech.names).index("ao") + k] for k in (0, 1))
    at = int((start + end) / 2 * SAMPLE_RATE)
    power = np.abs(np.fft.rfft(sound[at - 2048 : at + 2048] * np.hanning(4096))) ** 2
    hertz = np.fft.rfftfreq(4096, 1 / SAMPLE_RATE)
    first = PHONES["ao"].formants[0]
    strongest = hertz[power.argmax()]
    assert abs(strongest - first) < 130
