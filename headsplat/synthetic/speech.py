"""Phone timing of the built-in speech, from which voice and mouth motion are synthesized."""

from dataclasses import dataclass

import numpy as np

from headsplat.synthetic.phones import DIPHTHONGS, PHONES, PHRASES

PHRASE_SECONDS = 2.0
SPOKEN_PART = 0.84
# Seconds by which lip motion precedes and outlasts a sound (coarticulation).
REACH_SECONDS = 0.045


@dataclass(frozen=True)
class Speech:
    """A sequence of phones without gaps.

    Attributes:
        names: phone names, "-" for silence.
        starts: (n + 1,) seconds; phone i lasts from starts[i] to starts[i + 1].
        accents: (m,) seconds at which a stressed vowel has its center.
    """

    names: tuple[str, ...]
    starts: np.ndarray
    accents: np.ndarray

    @property
    def seconds(self) -> float:
        """Total length."""
        return float(self.starts[-1])


def _spell(phrase: str) -> list[tuple[str, float]]:
    """Phones of a phrase with their usual lengths; a diphthong is two short vowels."""
    spelled = []
    for name in phrase.split():
        parts = DIPHTHONGS.get(name, (name,))
        weight = 0.62 if len(parts) == 2 else 1.0
        spelled += [(part, PHONES[part].seconds * weight) for part in parts]
    return spelled


def compose_speech(seconds: float, phrases: tuple[str, ...] = PHRASES) -> Speech:
    """Fill `seconds` with the phrases in turn, each followed by a short silence.

    The last phrase is cut to whole phones and padded with silence.

    Args:
        seconds: length.
        phrases: of phones separated by spaces.
    """
    names, lengths = ["-"], [0.12]
    slot = 0
    while sum(lengths) < seconds - 0.3:
        spelled = _spell(phrases[slot % len(phrases)])
        # Repeated phrases are slightly slower: similar, not identical.
        spoken = PHRASE_SECONDS * (SPOKEN_PART + 0.03 * (slot // len(phrases) % 2))
        scale = spoken / sum(length for _, length in spelled)
        slot_end = sum(lengths) + PHRASE_SECONDS
        for name, length in spelled:
            if sum(lengths) + scale * length > seconds - 0.12:
                break
            names.append(name)
            lengths.append(scale * length)
        names.append("-")
        lengths.append(max(slot_end - sum(lengths), 0.05))
        slot += 1
    lengths[-1] += max(0.0, seconds - sum(lengths))
    starts = np.concatenate([[0.0], np.cumsum(lengths)])
    keep = int(np.searchsorted(starts, seconds - 1e-9))
    starts = np.append(starts[:keep], seconds)
    names = names[:keep]
    centers = (starts[1:] + starts[:-1]) / 2
    stressed = [PHONES[name].voice >= 0.9 for name in names]
    return Speech(tuple(names), starts, centers[np.array(stressed)])


def lip_tracks(speech: Speech, times: np.ndarray) -> np.ndarray:
    """Lip and jaw targets blended over neighboring phones.

    Each phone dominates around its own middle, with a strength that falls off exponentially; the
    blend is the mean of all targets weighted by dominance, after Cohen and Massaro, "Modeling
    coarticulation in synthetic visual speech" (1993).

    Args:
        speech: phone timing.
        times: (t,) seconds.

    Returns:
        (t, 7) in 0..1, columns as in `phones.LIP_CHANNELS`.
    """
    phones = [PHONES[name] for name in speech.names]
    targets = np.array([phone.lips for phone in phones])
    firmness = np.array([phone.firmness for phone in phones])
    begin, end = speech.starts[:-1], speech.starts[1:]
    outside = np.maximum(begin - times[:, None], times[:, None] - end).clip(0.0)
    inside = np.minimum(times[:, None] - begin, end - times[:, None]).clip(0.0)
    dominance = firmness * np.exp(-outside / REACH_SECONDS)
    dominance *= 1 + inside / REACH_SECONDS
    # Squared, which limits the influence of neighbors.
    dominance = dominance**2
    return dominance @ targets / dominance.sum(1, keepdims=True)
