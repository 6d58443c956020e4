"""Share of the p, b and m in a video's sound at which a track's lips close.

    python benchmarks/closure.py --video VIDEO --head HEAD work/anna other/work/anna

Phones come from PocketSphinx (`pip install pocketsphinx`), whose wheel holds an English model. The
opening is the mean distance of the five pairs of inner-lip points on the mesh. It counts as closed
below its 5th percentile plus a quarter of the range to its 95th. A phone counts as closed if that
happens between 100 ms before it and 20 ms before its end, because lips lead the sound. The detected
points are measured likewise: not every phone that is recognized was spoken. Phones moved to other
times give chance.
"""

import argparse
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from scipy.signal import resample_poly

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts"), str(ROOT)]

from headsplat.heads.landmarks import LIP_DISTANCE_PAIRS, compact, pick, points  # noqa: E402
from headsplat.heads.model import HeadModel  # noqa: E402
from headsplat.heads.skinning import HeadGeometry  # noqa: E402
from headsplat.rotations import matrix_from_6d  # noqa: E402
from headsplat.runtime.files import read_npz  # noqa: E402
from headsplat.track import Track, read_track  # noqa: E402
from headsplat.video.sound import read_sound  # noqa: E402

CLOSED_BY = ("P", "B", "M")
RATE = 16000
BEFORE, UNTIL, SHARE = 0.10, -0.02, 0.25
SHIFTS = np.arange(3.0, 40.0, 0.73)  # seconds
BATCH = 256


def closing_phones(video: Path) -> list[tuple[float, float]]:
    """Start and end of every p, b and m, seconds."""
    import pocketsphinx

    sound, rate = read_sound(video)
    share = Fraction(RATE, rate)
    mono = resample_poly(sound.mean(1), share.numerator, share.denominator)
    pcm = (np.clip(mono, -1, 1) * 32767).astype(np.int16)
    model = Path(pocketsphinx.get_model_path("en-us"))
    decoder = pocketsphinx.Decoder(
        hmm=str(model / "en-us"), lm=None, dict=None, allphone=str(model / "en-us-phone.lm.bin"),
        lw=2.0, beam=1e-20, pbeam=1e-20, loglevel="ERROR",
    )  # fmt: skip
    decoder.start_utt()
    decoder.process_raw(pcm.tobytes(), no_search=False, full_utt=True)
    decoder.end_utt()
    return [
        (s.start_frame / 100, (s.end_frame + 1) / 100) for s in decoder.seg() if s.word in CLOSED_BY
    ]


def mesh_opening(head: HeadModel, track: Track) -> np.ndarray:
    """(N,) mean distance of the inner lips on the mesh, meters."""
    ids, (marks,) = compact(pick(head.landmarks["mediapipe"], np.ravel(LIP_DISTANCE_PAIRS)))
    geometry, parts = HeadGeometry(head), []
    for low in range(0, len(track.ids), BATCH):
        rows = slice(low, low + BATCH)
        vertices = geometry.vertices(
            torch.as_tensor(track.shape),
            torch.as_tensor(track.exp[rows]),
            matrix_from_6d(torch.as_tensor(track.jaw[rows])),
            matrix_from_6d(torch.as_tensor(track.eyes[rows]).reshape(-1, 2, 6)),
            torch.as_tensor(track.eyelids[rows]),
            vertex_ids=torch.as_tensor(ids),
        )
        parts.append(points(vertices, marks).numpy())
    return opening(np.concatenate(parts), marks.index)


def opening(where: np.ndarray, index: np.ndarray) -> np.ndarray:
    """(N,) mean distance over the pairs of points (N, L, d) with MediaPipe's numbers (L,)."""
    rows = [[np.flatnonzero(index == number)[0] for number in pair] for pair in LIP_DISTANCE_PAIRS]
    upper, lower = np.array(rows).T
    return np.linalg.norm(where[:, upper] - where[:, lower], axis=-1).mean(1)


def closed(gap: np.ndarray, fps: float, phones: list[tuple[float, float]]) -> float:
    """Share of the phones at which the gap (N,) closes."""
    low, high = np.nanpercentile(gap, [5, 95])
    limit, times = low + SHARE * (high - low), np.arange(len(gap)) / fps
    windows = [(times >= start - BEFORE) & (times <= end + UNTIL) for start, end in phones]
    inside = [np.nanmin(gap[rows]) < limit for rows in windows if rows.any()]
    return float(np.mean(inside))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, required=True, help="with English speech")
    parser.add_argument("--head", type=Path, required=True, help="head model of the tracks")
    parser.add_argument("subjects", type=Path, nargs="+", help="folders work/<subject>")
    args = parser.parse_args()
    phones, head = closing_phones(args.video), HeadModel.load(args.head)
    for folder in args.subjects:
        track = read_track(folder / "track" / "track.npz")
        found = read_npz(folder / "landmarks.npz", ("points",))["points"][..., :2]
        gaps = {"mesh": mesh_opening(head, track), "detected": opening(found, np.arange(478))}
        for name, gap in gaps.items():
            shifted = [[(a + s, b + s) for a, b in phones] for s in SHIFTS]
            chance = np.mean([closed(gap, track.fps, moved) for moved in shifted])
            print(
                f"{folder.name:20s} {name:9s} closed at {closed(gap, track.fps, phones):.3f} of "
                f"{len(phones)} phones, by chance {chance:.3f}"
            )


if __name__ == "__main__":
    main()
