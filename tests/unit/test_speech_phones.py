"""Phones by PocketSphinx, where it is installed."""

import numpy as np
import pytest

from headsplat.runtime.errors import UserError
from headsplat.speech.audio import RATE, read_speech
from headsplat.speech.phones import PIECE, _piece_end, find_phones
from headsplat.synthetic.score import other_words, write_wav
from headsplat.synthetic.voice import SAMPLE_RATE
from tests.unit.spoken import spoken_clip

pytest.importorskip("pocketsphinx", reason="PocketSphinx is not installed")


def test_labials_of_the_built_in_voice(tmp_path):
    score = other_words(spoken_clip().head)
    write_wav(tmp_path / "a.wav", score.samples, SAMPLE_RATE)
    found = find_phones(read_speech(tmp_path / "a.wav").samples).labials()
    starts = score.speech.starts
    real = np.array([(starts[k], starts[k + 1]) for k, name in enumerate(score.speech.names)
                     if name in "pbm"])  # fmt: skip
    near = np.abs(found.mean(1)[:, None] - real.mean(1)).min(1) < 0.08
    assert near.mean() > 0.7
    assert len(found) > 0.4 * len(real)


def test_a_known_text_is_aligned(shared, tmp_path):
    samples = read_speech(shared / "data/audio/to_be_or.wav").samples
    (tmp_path / "t.txt").write_text("To be or not to be, that is the question.")
    phones = find_phones(samples, tmp_path / "t.txt")
    letters = " ".join(name for name in phones.names if name != "SIL")
    assert letters.startswith("T IH B IY AO R N AA T T AH B IY DH AE T IH Z DH AH K W EH S CH AH N")
    assert (np.diff(phones.spans[:, 0]) > 0).all()


def test_words_in_another_language_are_refused(tmp_path):
    (tmp_path / "t.txt").write_text("Hyv\u00e4t kuulijat, t\u00e4n\u00e4\u00e4n puhumme")
    with pytest.raises(UserError, match="not in the English"):
        find_phones(np.zeros(RATE, np.float32), tmp_path / "t.txt")


def test_long_sounds_are_cut_at_quiet_places():
    sound = np.ones(PIECE + RATE, np.float32)
    sound[PIECE - RATE : PIECE - RATE // 2] = 0
    assert PIECE - RATE <= _piece_end(sound, 0) <= PIECE - RATE // 2
    assert _piece_end(sound, PIECE) == len(sound)
