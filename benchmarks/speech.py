"""Measure the personal voice: agreement with tracks, cost, sync check, liveliness, streaming.

    python benchmarks/speech.py --clip work/anna --video videos/anna.mp4 --head work/heads/ict.npz
    python benchmarks/speech.py --demo work/demo --video work/builtin/demo.mp4 \
        --head work/heads/procedural.npz --sound other.wav

The numbers are cross-validated on the clip. With `--demo` they are also those of words that the
built-in clip does not hold, against their ground truth: by the voice that is learned from the
track, and by one that is learned from the clip's ground truth, which has no tracking error.
`--out` writes the rows to a file of results, where they replace those of the same names; with
`--demo` only the rows of other words are written.
"""

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts"), str(ROOT)]

from headsplat.heads.model import HeadModel  # noqa: E402
from headsplat.rotations import (  # noqa: E402
    axis_angle_from_matrix,
    matrix_from_axis_angle,
    matrix_to_6d,
)
from headsplat.runtime.files import read_json  # noqa: E402
from headsplat.speech.audio import RATE, Speech, read_speech  # noqa: E402
from headsplat.speech.clip import prepare  # noqa: E402
from headsplat.speech.features import Normalization, log_mels  # noqa: E402
from headsplat.speech.learn import learn_voice  # noqa: E402
from headsplat.speech.lips import Lips  # noqa: E402
from headsplat.speech.mouth import MouthColumns  # noqa: E402
from headsplat.speech.options import VoiceOptions  # noqa: E402
from headsplat.speech.own import speech_motion  # noqa: E402
from headsplat.speech.personal import Voice, read_voice  # noqa: E402
from headsplat.speech.phones import pocketsphinx  # noqa: E402
from headsplat.speech.run import subject_of  # noqa: E402
from headsplat.speech.score import lip_scores  # noqa: E402
from headsplat.speech.stream import Speaker  # noqa: E402
from headsplat.synthetic.score import other_words, write_wav  # noqa: E402
from headsplat.synthetic.voice import SAMPLE_RATE  # noqa: E402
from headsplat.track import Track, read_track, write_track  # noqa: E402

SHIFT = 0.12  # seconds of artificial asynchrony
CHUNK = 640  # samples: 40 ms
Row = dict[str, Any]
FASTER = "x real time"
ABOVE, BELOW = "the opening's above loudness alone", "below that of the mean face"
CLOSED = "lips closed at p, b and m"
OTHER = "built-in subject, other phrases"
MACHINE = f"{platform.machine()}, {os.cpu_count()} cores"
HIGH = (ABOVE, BELOW, CLOSED)  # more is better


def row(what: str, value: float, unit: str = "", target: float | None = None) -> Row:
    print(f"{what:72s} {value:10.3f} {unit}" + ("" if target is None else f"  (goal {target})"))
    made: Row = {"what": what, "value": round(float(value), 3), "unit": unit, "target": target,
                 "machine": MACHINE}  # fmt: skip
    return made | ({"best": "high"} if unit == FASTER or what in HIGH else {})


def validated(report: dict[str, Any]) -> list[Row]:
    final, energy, mean = report["final"], report["energy"], report["mean"]
    rows = [
        row("held out: correlation of the opening", final["corr_opening"], "", 0.68),
        row("held out: correlation of the jaw", final["corr_jaw"], "", 0.66),
        row(ABOVE, final["corr_opening"] - energy["corr_opening"],
            "", 0.15),
        row("lip vertex error", final["lve_mm"], "mm"),
        row(BELOW, 100 * (1 - final["lve_mm"] / mean["lve_mm"]), "%", 12),
        row("standard deviation of the opening, against the track", final["std_ratio"]),
        row("lip speed, against the track", final["speed_ratio"]),
    ]  # fmt: skip
    if report["closure"] is not None:
        cost = 100 * (final["lve_mm"] / report["personal"]["lve_mm"] - 1)
        rows += [
            row(CLOSED, report["closure"], "", 0.92),
            row("the same in the track", report["closure_track"]),
            row("lip vertex error that pauses and closures add", cost, "%"),
        ]
    return rows


def other_phrases(voice: Voice, head: HeadModel, track: Track, source: str) -> list[Row]:
    """Scores on words that the clip does not hold, against their ground truth."""
    score = other_words(head)
    lips, columns = Lips(head, track.identity()), MouthColumns.of(head)
    with tempfile.TemporaryDirectory() as folder:
        write_wav(Path(folder, "words.wav"), score.samples, SAMPLE_RATE)
        samples = read_speech(Path(folder, "words.wav")).samples
    condition, what = score.condition, f"{OTHER}, learned from the {source}"
    motion = speech_motion(samples, subject_of(head, track, "the track"), track, voice)
    seen, mean = lips.shapes(condition), columns.values(track.codes().vector).mean(0)
    still = lips.shapes(columns.put(condition, np.tile(mean, (len(condition), 1))))
    found, base = lip_scores(lips.shapes(motion.condition), seen), lip_scores(still, seen)
    share = 100 * found["lve_mm"] / base["lve_mm"]
    return [
        row(f"{what}: correlation of the opening", found["corr_opening"], "", 0.94),
        row(f"{what}: correlation of the jaw", found["corr_jaw"], "", 0.94),
        row(f"{what}: lip vertex error, of the mean face's", share, "%", 45),
        row(f"{what}: standard deviation of the opening", found["std_ratio"]),
        row(f"{what}: lip speed", found["speed_ratio"]),
    ]


def true_track(track: Track, ground_truth: Path) -> Track:
    """The built-in clip's track with its true identity and codes."""
    with np.load(ground_truth) as true:
        jaw, eyes = (
            matrix_to_6d(
                matrix_from_axis_angle(torch.from_numpy(true[joint]).float().unflatten(1, (-1, 3)))
            )
            for joint in ("jaw", "eyes")
        )
        exp, lids, shape = (true[key].astype("f4") for key in ("exp", "eyelids", "shape"))
    codes = {"jaw": jaw.flatten(1).numpy(), "eyes": eyes.flatten(1).numpy()}
    return replace(track, shape=shape, exp=exp, eyelids=lids, **codes)


def shifts(track: Track, speech: Speech, head: HeadModel) -> list[Row]:
    """Errors of the lag that is found after shifting the sound, milliseconds."""
    _, usual = prepare(track, speech, head)
    errors = []
    for sign in (-1, 1):
        count = round(SHIFT * RATE)
        late = np.pad(speech.samples, (count, 0)) if sign > 0 else speech.samples[count:]
        _, lag = prepare(track, Speech(late), head)
        errors.append(abs(lag - usual - sign * SHIFT) * 1000)
    return [
        row("sound shifted by 120 ms either way: error of the lag found", max(errors), "ms", 40)
    ]


def costs(voice: Voice, track: Track, speech: Speech, head: HeadModel) -> list[Row]:
    times = np.arange(speech.frames(track.fps)) / track.fps
    start = time.process_time()
    mels = log_mels(speech.samples)
    voice.mouth(mels, times, Normalization.of(mels))
    spent = time.process_time() - start
    rows = [row("mouth from sound, one core", speech.seconds / spent, FASTER, 50)]
    start = time.process_time()
    subject = subject_of(head, track, "the track")
    speech_motion(speech.samples, subject, track, voice)
    whole = time.process_time() - start
    what = f"whole motion, {'without' if pocketsphinx() is None else 'with'} phones"
    rows.append(row(what, speech.seconds / whole, FASTER, 8))
    speaker, spent = Speaker(subject, track, voice), []
    for first in range(0, len(speech.samples), CHUNK):
        start = time.process_time()
        speaker.feed(speech.samples[first : first + CHUNK])
        spent.append(time.process_time() - start)
    rows.append(row("streaming: sound that a frame waits for", 1000 * speaker.latency, "ms"))
    rows.append(row("streaming: computing a chunk of 40 ms, 99th percentile",
                    1000 * np.percentile(spent, 99), "ms"))  # fmt: skip
    return rows


def liveliness(voice: Voice, track: Track, speech: Speech, head: HeadModel) -> list[Row]:
    """Speed and jumps of the head, made against the clip's own."""
    motion = speech_motion(speech.samples, subject_of(head, track, "the track"), track, voice)
    made, seen = (head_speed(r, track.fps) for r in (motion.rotation, track.poses()[0].double()))
    return [
        row("head speed, made against the clip", made.mean() / seen.mean()),
        row("fastest 1 % of the head's frames, against the clip",
            np.percentile(made, 99) / np.percentile(seen, 99)),
        row("share of frames without motion (under 0.2 degrees a second)", (made < 0.2).mean()),
    ]  # fmt: skip


def head_speed(rotation: torch.Tensor, fps: float) -> np.ndarray:
    """(N - 1,) degrees a second."""
    turn = axis_angle_from_matrix(rotation[:-1].mT @ rotation[1:]).norm(dim=-1)
    return np.rad2deg(turn.numpy()) * fps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, help="folder work/<subject> of a real clip")
    parser.add_argument("--demo", type=Path, help="folder work/demo of the built-in subject")
    parser.add_argument("--video", type=Path, required=True, help="the clip's video")
    parser.add_argument("--head", type=Path, required=True, help="head model of the track")
    parser.add_argument("--sound", type=Path, help="another sound for speeds and liveliness")
    parser.add_argument("--out", type=Path, help="file of results to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    head = HeadModel.load(args.head)
    path = (args.clip or args.demo) / "track" / "track.npz"
    track, speech = read_track(path, head), read_speech(args.video)
    with tempfile.TemporaryDirectory() as folder:
        out, report = Path(folder, "voice.npz"), Path(folder, "voice.json")
        start = time.monotonic(), time.process_time()
        learn_voice(path, args.video, args.head, out, report, VoiceOptions())
        wall, spent = time.monotonic() - start[0], time.process_time() - start[1]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        voice = read_voice(out, head)
        rows = [row(f"learning from {speech.seconds:.0f} s of clip, CPU time", spent, "s", 10),
                row("the same, elapsed", wall, "s"),
                row("peak memory", peak, "GiB", 1)]  # fmt: skip
        rows += validated(read_json(report))
        if args.demo:
            words = other_phrases(voice, head, track, "track")
            true, file = true_track(track, args.video.with_name("ground_truth.npz")), Path(folder)
            write_track(file / "true.npz", true)
            learn_voice(file / "true.npz", args.video, args.head, out, report, VoiceOptions())
            words += other_phrases(read_voice(out, head), head, true, "ground truth")
    rows += shifts(track[np.flatnonzero(~track.interpolated)], speech, head)
    sound = read_speech(args.sound) if args.sound else speech
    rows += costs(voice, track, sound, head) + liveliness(voice, track, sound, head)
    if args.out:
        rows = words if args.demo else rows
        kept = json.loads(args.out.read_text()) if args.out.exists() else []
        names = {made["what"] for made in rows}
        rows = [*(old for old in kept if old["what"] not in names), *rows]
        args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
