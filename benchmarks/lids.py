"""Correlate the lid codes of tracked clips with the detected eye openings.

    python benchmarks/lids.py work/anna work/ben

The lid code of each eye is correlated with two quantities in the image: the eye-aspect ratio
(opening over eye width), and the opening over the head's size. Turning the head shortens the eye's
width but not its opening. So the ratio is also compared over the frames within 15 degrees of
frontal; on clips with turned heads, only that and the opening measure the lids.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts"), str(ROOT)]

from headsplat.frames.crop import Crop  # noqa: E402
from headsplat.heads.landmarks import EYELID_DISTANCE_PAIRS  # noqa: E402
from headsplat.runtime.files import read_npz  # noqa: E402
from headsplat.track import Track, read_track  # noqa: E402

FRONTAL = 15.0  # degrees between the face's axis and the camera's
CORNERS = {"left": (263, 362), "right": (33, 133)}


def correlations(track: Track, points: np.ndarray) -> dict[str, tuple[float, float, float]]:
    """Side -> correlations with aspect ratio over all and frontal frames, and with the opening.

    NaN for fewer than ten frontal frames; the opening is in meters on the head.

    Args:
        track: of the clip.
        points: (N, 478, 2) detected points in crop pixels, rows as in the track.
    """
    seen = ~track.interpolated
    meters = track.t[:, 2] / track.K[0, 0]
    frontal = seen & (-track.R[:, 2, 2] > np.cos(np.radians(FRONTAL)))
    result = {}
    for column, (side, pairs) in enumerate(EYELID_DISTANCE_PAIRS.items()):
        upper, lower = np.array(pairs).T
        opening = np.linalg.norm(points[:, upper] - points[:, lower], axis=-1).mean(1)
        a, b = CORNERS[side]
        width = np.linalg.norm(points[:, a] - points[:, b], axis=-1)
        lid, ratio = -track.eyelids[:, column], opening / width
        pairs = (ratio, seen), (ratio, frontal), (opening * meters, seen)
        result[side] = tuple(
            float(np.corrcoef(lid[rows], measure[rows])[0, 1]) if rows.sum() >= 10 else np.nan
            for measure, rows in pairs
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subjects", type=Path, nargs="+", help="folders work/<subject>")
    for folder in parser.parse_args().subjects:
        track = read_track(folder / "track" / "track.npz")
        points = read_npz(folder / "landmarks.npz", ("points",))["points"][..., :2]
        found = correlations(track, Crop.load(folder / "crop.json").points(points))
        for side, (ratio, frontal, opening) in found.items():
            print(
                f"{folder.name:16s} {side:6s} aspect ratio {ratio:.3f}, of frontal frames "
                f"{frontal:.3f}, opening {opening:.3f}"
            )


if __name__ == "__main__":
    main()
