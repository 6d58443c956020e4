"""The stage `learn_voice`: track and sound of a clip -> personal voice with its own test."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from headsplat.heads.model import HeadModel
from headsplat.options import check_ranges
from headsplat.runtime.files import write_json
from headsplat.runtime.heartbeat import beat
from headsplat.runtime.logs import log
from headsplat.speech.audio import NoSpeech, read_speech
from headsplat.speech.clip import Clip, prepare, usable_frames
from headsplat.speech.closures import close_lips
from headsplat.speech.features import OFFSETS, at, frame_windows, loudness, spoken
from headsplat.speech.lips import NoLips
from headsplat.speech.mouth import MouthColumns
from headsplat.speech.options import VoiceOptions
from headsplat.speech.pauses import pausing, rest_in_pauses
from headsplat.speech.personal import Voice, save_reason
from headsplat.speech.phones import closure_spans
from headsplat.speech.regression import RIDGES, RegressionTask, held_out_means
from headsplat.speech.score import closure_share, lip_scores

LEAST_CORRELATION = 0.3  # of the opening, below which the clip's sound does not fit its lips
STD_RATIO = 0.92  # to which the gain restores the opening's standard deviation
GAINS = (1.0, 1.5)
LEAST_SPEED = 0.93  # of the track's lip speed: smoother lips have lower errors but look sleepy
CLOSED_SHARE = 0.08  # of the frames, the most closed ones
LEAST_PAUSE = 0.4  # seconds of pauses that tell the lips at rest
CHOOSING, CHOOSING_BLOCKS = 2000, 8  # frames on which ridge and gain are chosen, in blocks


def learn_voice(
    track_path: Path,
    sound: Path | None,
    head_path: Path,
    out: Path,
    report_out: Path,
    options: VoiceOptions,
) -> None:
    """Learn how one subject's mouth follows the sound of the subject's clip.

    Args:
        track_path: the clip's track.
        sound: the clip's video, or a file with its sound that starts at the first frame; None for
            a clip without sound.
        head_path: the head model of the track.
        out: `voice.npz` to write.
        report_out: `voice.json` to write: `seconds` of speech, `lag_s`, `gain`, and the
            cross-validated scores (see `lip_scores`): `personal` of the regression, `final` with
            pauses and closures, and of two baselines, `mean` face and regression from `energy`.
        options: see `VoiceOptions`.

    A clip with less than five seconds of speech has no voice, nor has a head model without
    landmarks of the lips. Then `out` and `report_out` hold the reason, and the lips of speech
    follow phones. Of a clip longer than an hour the first hour is used.

    Raises:
        UserError: a file cannot be read, or the files do not belong together.
    """
    torch.set_num_threads(1)
    check_ranges(options)
    head = HeadModel.load(head_path)
    track = usable_frames(track_path, head)
    try:
        if sound is None:
            raise NoSpeech("the subject has no video, so no sound")
        speech = read_speech(sound, cut=True)
        clip, lag = prepare(track, speech, head)
    except (NoSpeech, NoLips) as reason:
        log.warning("%s: there is no voice, and lips will follow phones", reason)
        save_reason(out, str(reason))
        write_json(report_out, {"reason": str(reason)})
        return
    spans = closure_spans(speech.samples) if options.closures == "auto" else None
    voice, report = fit_voice(clip, spans, options.gain)
    report["lag_s"] = None if lag is None else round(lag, 3)
    corr = report["personal"]["corr_opening"]
    if corr < LEAST_CORRELATION:
        log.warning("%s: its sound hardly predicts its lips (correlation %.2f); the voice phones "
                    "may be better", sound, corr)  # fmt: skip
    voice.save(out)
    write_json(report_out, report)


def fit_voice(clip: Clip, spans: np.ndarray | None, gain: float) -> tuple[Voice, dict[str, Any]]:
    """The voice of a clip, and its cross-validated scores beside the baselines'.

    Args:
        clip: from `prepare`.
        spans: (p, 2) seconds of p, b and m in the sound, or None if unknown.
        gain: of the voice, or 0 to choose it.
    """
    task = RegressionTask(clip.windows(), clip.values, len(OFFSETS))
    beat("cross-validating the voice")
    held_out, near = task.held_out(RIDGES)
    means = held_out_means(clip.values)
    shrinks = [_shrink(made, clip.values, means, clip.columns) for made in held_out]
    gains, scores = [], []
    rows = _some(len(clip.times))
    few = clip.part(rows)
    for made, shrink in zip(held_out, shrinks, strict=True):
        deviation = (shrink * (made - means))[rows]
        gains.append(gain or _restoring_gain(few, means[rows], deviation))
        shapes = few.shapes(means[rows] + gains[-1] * deviation)
        scores.append(lip_scores(shapes, few.seen))
    best = _best(scores)
    speech = at(spoken(clip.mels), clip.times)
    level = at(loudness(clip.mels), clip.times)
    closed = np.median(clip.values[_most_closed(clip.seen.opening)], 0)
    voice = Voice(
        task.fit(RIDGES[best]), closed, _rest(clip, closed), shrinks[best], gains[best],
        clip.levels, _coverage(near[speech]), clip.track.ids, level, speech,
        clip.track.head_name, clip.track.head_version,
    )  # fmt: skip
    made = means + gains[best] * shrinks[best] * (held_out[best] - means)
    return voice, _report(clip, voice, made, means, spans, RIDGES[best])


def _some(count: int) -> np.ndarray:
    """Rows on which options are chosen: blocks of a long clip, which bounds the time."""
    size = CHOOSING // CHOOSING_BLOCKS
    if count <= CHOOSING:
        return np.arange(count)
    starts = np.linspace(0, count - size, CHOOSING_BLOCKS).astype(int)
    return np.concatenate([np.arange(start, start + size) for start in starts])


def _coverage(near: np.ndarray) -> np.ndarray:
    """Median and distance of the quartiles."""
    low, middle, high = np.percentile(near, (25, 50, 75))
    return np.array([middle, high - low])


def _best(scores: list[dict[str, float]]) -> int:
    """The regularization of lowest error among those that move the lips fast enough."""
    lively = [s["speed_ratio"] >= LEAST_SPEED for s in scores]
    if not any(lively):
        return int(np.argmax([s["speed_ratio"] for s in scores]))
    return int(np.argmin([s["lve_mm"] if ok else np.inf
                          for s, ok in zip(scores, lively, strict=True)]))  # fmt: skip


def _report(
    clip: Clip,
    voice: Voice,
    made: np.ndarray,
    means: np.ndarray,
    spans: np.ndarray | None,
    ridge: float,
) -> dict[str, Any]:
    energy = frame_windows(loudness(clip.levels.apply(clip.mels))[:, None], clip.times)
    guess = RegressionTask(energy, clip.values, len(OFFSETS)).held_out((ridge,))[0][0]
    report: dict[str, Any] = {
        "seconds": round(float(voice.speech.sum() / clip.track.fps), 2), "frames": len(clip.times),
        "gain": round(float(voice.gain), 3), "ridge": ridge,
        "personal": lip_scores(clip.shapes(made), clip.seen),
        "mean": lip_scores(clip.shapes(means), clip.seen),
        "energy": lip_scores(clip.shapes(guess), clip.seen),
    }  # fmt: skip
    final = rest_in_pauses(made, clip.mels, clip.times, voice.rest)
    report["closure"] = report["closure_track"] = None
    if spans is not None and len(spans):
        seen = clip.seen.opening
        final = close_lips(final, clip.times, spans, voice.closed)
        opening = clip.shapes(final).opening
        report["closure"] = closure_share(opening, seen, spans, clip.times)
        report["closure_track"] = closure_share(seen, seen, spans, clip.times)
    report["final"] = lip_scores(clip.shapes(final), clip.seen)
    return report


def _most_closed(opening: np.ndarray) -> np.ndarray:
    """Rows of the most closed frames."""
    return np.argsort(opening, kind="stable")[: max(1, round(CLOSED_SHARE * len(opening)))]


def _rest(clip: Clip, closed: np.ndarray) -> np.ndarray:
    """(K,) the more closed half of the frames in pauses; `closed` where there are few."""
    rows = np.flatnonzero(pausing(clip.mels, clip.times) > 0.9)
    if len(rows) < LEAST_PAUSE * clip.track.fps:
        return closed
    opening = clip.seen.opening[rows]
    return np.median(clip.values[rows[opening <= np.median(opening)]], 0)


def _shrink(
    made: np.ndarray, values: np.ndarray, means: np.ndarray, columns: MouthColumns
) -> np.ndarray:
    """(K,) factors: the explained share of variance for heads whose codes mix mouth and brows."""
    if columns.named:
        return np.ones(values.shape[1])
    left, all_ = ((values - made) ** 2).sum(0), ((values - means) ** 2).sum(0)
    return (1 - left / np.maximum(all_, 1e-12)).clip(0, 1)


def _restoring_gain(clip: Clip, means: np.ndarray, deviation: np.ndarray) -> float:
    """The gain at which the opening varies as much as `STD_RATIO` of the track's."""
    ratio = lip_scores(clip.shapes(means + deviation), clip.seen)["std_ratio"]
    return float(np.clip(STD_RATIO / max(ratio, 1e-6), *GAINS))
