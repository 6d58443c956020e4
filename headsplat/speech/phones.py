"""Phones of a sound, by PocketSphinx: free recognition, or alignment of a known text.

The optional package `pocketsphinx` brings an English acoustic model with its wheel. Phones are
named as in the CMU dictionary. Sound in other languages gets the nearest English phones, which
still tell where lips close.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.heartbeat import beat
from headsplat.runtime.logs import log
from headsplat.runtime.regular import read_regular
from headsplat.runtime.storage import unreadable
from headsplat.speech.audio import RATE

LABIALS = ("P", "B", "M")
FRAME = 0.01  # seconds of PocketSphinx's frames
PIECE = 60 * RATE  # samples recognized at once, which bounds memory
_CUT = 5 * RATE  # a piece ends at the quietest place of its last seconds
_LARGEST_TEXT = 1 << 20  # bytes
_LONGEST_ALIGNED = 300.0  # seconds
_FASTEST = 8  # words a second; texts with more do not fit, and would take memory
_KNOWN = 0.5  # share of a text's words that the dictionary must know
_BEAM = 1e-20


@dataclass(frozen=True, eq=False)
class Phones:
    """Phones of a sound in order.

    Attributes:
        names: of the CMU dictionary without stress, "SIL" for pauses.
        spans: (p, 2) seconds, begin and end.
    """

    names: tuple[str, ...]
    spans: np.ndarray

    def labials(self) -> np.ndarray:
        """(q, 2) seconds of each p, b and m."""
        return self.spans[np.isin(np.array(self.names, dtype=str), LABIALS)]


def as_one_vowel(speech: np.ndarray) -> Phones:
    """Speech without known phones, (n,) bool every 10 ms, as one open vowel in each stretch."""
    steps = np.diff(np.concatenate([[False], speech, [False]]).astype(np.int8))
    spans = np.stack([np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)], 1) * 0.01
    return Phones(("AH",) * len(spans), spans)


@cache
def pocketsphinx() -> ModuleType | None:
    """The package, or None with a line in the log if it is not installed."""
    try:
        import pocketsphinx as package
    except ImportError:
        log.warning("PocketSphinx is not installed: lips are not closed at p, b and m; "
                    "pip install pocketsphinx")  # fmt: skip
        return None
    return package


def closure_spans(samples: np.ndarray) -> np.ndarray | None:
    """(p, 2) seconds of each p, b and m in a sound (n,); None without PocketSphinx."""
    phones = find_phones(samples)
    return None if phones is None else phones.labials()


def find_phones(samples: np.ndarray, transcript: Path | None = None) -> Phones | None:
    """Phones of a sound.

    Args:
        samples: (n,) float32 at 16 kHz.
        transcript: file with the spoken text, which is aligned; None recognizes phones.

    Returns:
        The phones; None without PocketSphinx.

    Raises:
        UserError: the transcript cannot be read, or is not English.
    """
    words = None if transcript is None else _words(transcript)
    package = pocketsphinx()
    if package is None:
        return None
    found = None if words is None else _align(package, samples, words, transcript)
    return found if found is not None else _recognize(package, samples)


def _recognize(package: ModuleType, samples: np.ndarray) -> Phones:
    model = Path(package.get_model_path(), "en-us")
    decoder = package.Decoder(
        hmm=str(model / "en-us"), lm=None, dict=None, allphone=str(model / "en-us-phone.lm.bin"),
        lw=2.0, beam=_BEAM, pbeam=_BEAM, loglevel="FATAL",
    )  # fmt: skip
    names, spans, start = [], [], 0
    while start < len(samples):
        beat("phones", start, len(samples))
        stop = _piece_end(samples, start)
        for name, begin, end in _decoded(decoder, samples[start:stop]):
            names.append(name)
            spans.append((start / RATE + begin * FRAME, start / RATE + (end + 1) * FRAME))
        start = stop
    return Phones(tuple(names), np.array(spans, np.float64).reshape(-1, 2))


def _piece_end(samples: np.ndarray, start: int) -> int:
    """Where the piece ends that begins at `start`: at a quiet place, or with the sound."""
    if len(samples) - start <= PIECE:
        return len(samples)
    block = round(FRAME * RATE) * 5
    tail = samples[start + PIECE - _CUT : start + PIECE].reshape(-1, block)
    return start + PIECE - _CUT + int((tail**2).sum(1).argmin()) * block + block // 2


def _decoded(decoder, samples: np.ndarray) -> list[tuple[str, int, int]]:
    """Name, first and last frame of each phone that free recognition finds."""
    _process(decoder, samples)
    # Names of fillers are +NOISE+ and the like.
    return [
        (s.word if s.word.isalpha() else "SIL", s.start_frame, s.end_frame)
        for s in decoder.seg() or ()
    ]


def _process(decoder, samples: np.ndarray) -> None:
    decoder.start_utt()
    data = (samples.clip(-1, 1) * 32767).astype("<i2").tobytes()
    # Shorter sounds than one window have no frame.
    decoder.process_raw(data, no_search=False, full_utt=True)
    decoder.end_utt()


def _words(path: Path) -> list[str]:
    """Words of a transcript in small letters.

    Raises:
        UserError: it cannot be read, is empty, or is in another alphabet.
    """
    try:
        text = read_regular(path, _LARGEST_TEXT).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        what = f"cannot be read as text ({one_line(error)})"
        raise unreadable(error, path, what, "give a UTF-8 text file") from error
    plain = unicodedata.normalize("NFKD", text.replace("\u2019", "'"))
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    letters = [letter for letter in plain if letter.isalpha()]
    if not letters:
        raise UserError(f"{path}: holds no words; write what is said, or leave the cell empty")
    foreign = sum(not letter.isascii() for letter in letters)
    if foreign > len(letters) // 4:
        raise UserError(
            f"{path}: is not in the Latin alphabet, and only English texts can be aligned; leave "
            "`transcript` empty"
        )
    return re.findall(r"[a-z]+(?:'[a-z]+)*", plain.lower())


def _align(package: ModuleType, samples: np.ndarray, words: list[str], path: Path) -> Phones | None:
    """Phones of a known text; None with a line in the log where it does not fit the sound."""
    if len(samples) > _LONGEST_ALIGNED * RATE:
        log.warning("%s: sounds over %.0f s are not aligned; phones are recognized instead", path,
                    _LONGEST_ALIGNED)  # fmt: skip
        return None
    model = Path(package.get_model_path(), "en-us")
    decoder = package.Decoder(
        hmm=str(model / "en-us"), lm=None, dict=str(model / "cmudict-en-us.dict"), loglevel="FATAL"
    )
    known = [word for word in words if decoder.lookup_word(word) is not None]
    if len(known) < _KNOWN * len(words):
        raise UserError(
            f"{path}: {len(words) - len(known)} of its {len(words)} words are not in the English "
            "dictionary; give an English text, or leave `transcript` empty"
        )
    if len(known) > 1 + _FASTEST * len(samples) / RATE:
        log.warning("%s: %d words are too many for %.1f s of sound; phones are recognized instead",
                    path, len(words), len(samples) / RATE)  # fmt: skip
        return None
    try:
        decoder.set_align_text(" ".join(known))
        _process(decoder, samples)
        decoder.set_alignment()
        _process(decoder, samples)
        phones = [phone for word in decoder.get_alignment() for phone in word]
    except (RuntimeError, ValueError, TypeError):
        log.warning("%s: the text does not fit the sound; phones are recognized instead", path)
        return None
    spans = [(phone.start, phone.start + phone.duration) for phone in phones]
    return Phones(tuple(phone.name for phone in phones), FRAME * np.array(spans, np.float64))
