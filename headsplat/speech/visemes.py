"""Mouth values from phones by rules, for sounds that a subject's own voice does not cover.

Each phone has lip targets, which dominance functions blend over neighboring phones (Cohen and
Massaro 1993). The jaw follows loudness, the lips the phone (as in Edwards et al., "JALI", 2016).
"""

import numpy as np

from headsplat.heads.model import HeadModel
from headsplat.speech.mouth import JAW, MouthColumns
from headsplat.speech.phones import Phones
from headsplat.synthetic.parameters import JAW_RADIANS, SHAPES_OF_CHANNEL
from headsplat.synthetic.phones import LIP_CHANNELS, PHONES
from headsplat.synthetic.speech import Speech, lip_tracks

LEAD = 0.04  # seconds by which lips precede the sound
# Phones of the CMU dictionary that the table lacks, by their looks.
_LIKE = {
    "AW": ("aa", "uw"), "AY": ("aa", "iy"), "EY": ("eh", "iy"), "OW": ("ao", "uw"),
    "OY": ("ao", "iy"), "ER": ("r",), "HH": ("h",), "CH": ("sh",), "JH": ("sh",), "ZH": ("sh",),
    "TH": ("l",), "DH": ("l",), "G": ("k",), "NG": ("n",), "SIL": ("-",),
}  # fmt: skip
_LOUD, _SOFT = 1.15, 0.75  # factors of the jaw's opening at loud and soft sounds


def viseme_values(
    phones: Phones,
    times: np.ndarray,
    loudness: np.ndarray,
    head: HeadModel,
    closed: np.ndarray,
    widest: float,
) -> np.ndarray:
    """Mouth values that go with phones.

    Args:
        phones: of the sound.
        times: (n,) seconds.
        loudness: (n,) in 0..1 at these times.
        head: a head whose shapes have ARKit's names; on others only the jaw moves.
        closed: (K,) the subject's closed lips, to which the motion is added.
        widest: radians by which the subject opens the jaw at open vowels.

    Returns:
        (n, K) float64.
    """
    columns = MouthColumns.of(head)
    channels = dict(zip(LIP_CHANNELS, _channels(phones, times).T, strict=True))
    values = np.tile(np.asarray(closed, np.float64), (len(times), 1))
    factor = _SOFT + (_LOUD - _SOFT) * loudness
    values[:, -JAW] += widest * channels["jaw"] * factor
    if not columns.named:
        return values
    place = {head.expression_names[row]: column for column, row in enumerate(columns.rows)}
    strength = np.clip(widest / JAW_RADIANS, 0.5, 1.0)
    for channel, shapes in SHAPES_OF_CHANNEL.items():
        for pattern, weight in shapes.items() if channel in channels else ():
            for name in {pattern.replace("*", side) for side in ("_L", "_R")}:
                if name in place:
                    values[:, place[name]] += strength * weight * channels[channel]
    return values


def _channels(phones: Phones, times: np.ndarray) -> np.ndarray:
    """(n, 7) lip targets in 0..1."""
    names, starts = ["-"], [min(0.0, times[0]) - 1.0]
    for name, (begin, end) in zip(phones.names, phones.spans, strict=True):
        parts = _LIKE.get(name) or ((name.lower(),) if name.lower() in PHONES else ("-",))
        for number, part in enumerate(parts):
            names.append(part)
            starts.append(max(begin + (end - begin) * number / len(parts), starts[-1]))
    starts += [max(starts[-1], phones.spans[-1, 1] if len(phones.spans) else 0.0)]
    names.append("-")
    starts.append(starts[-1] + 1.0)
    speech = Speech(tuple(names), np.array(starts), np.zeros(0))
    return lip_tracks(speech, times + LEAD)
