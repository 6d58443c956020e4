"""Measure how steady the lower edge of the head masks is, after the trunk's motion.

Looks at the masks of neighboring frames in the view that stays with the trunk. Prints, per folder
of masks, the change of the edge in pixels of the crop: median over columns and frames, percentiles,
the largest median of a frame, and the share of columns that jump by more than 3 px.

    python benchmarks/neck_cut.py --clip work/SUBJECT --head work/heads/HEAD.npz
        [--track TRACK.npz] [--parsing FOLDER ...]
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts"), str(ROOT)]

from headsplat.frames.images import decode_image  # noqa: E402
from headsplat.frames.packs import FrameStore  # noqa: E402
from headsplat.heads.model import HeadModel  # noqa: E402
from headsplat.masks.trunk_view import TrunkView  # noqa: E402

JUMP = 3.0
# Columns count where the person continues this far below the edge, pixels of the view.
BELOW = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, required=True, help="a subject's folder under work/")
    parser.add_argument("--head", type=Path, required=True, help="its head model .npz")
    parser.add_argument("--track", type=Path, help="track with a trunk; the clip's own by default")
    parser.add_argument("--parsing", type=Path, nargs="+", help="folders of masks to compare")
    args = parser.parse_args()
    torch.set_num_threads(1)
    view = TrunkView(HeadModel.load(args.head), args.track or args.clip / "track" / "track.npz")
    for folder in args.parsing or [args.clip / "parsing"]:
        print(f"{folder}: {described(view, args.clip / 'alpha', folder)}")


def described(view: TrunkView, alpha: Path, parsing: Path) -> str:
    """The figures of one folder of masks in words."""
    found = measured(view, alpha, parsing)
    return (
        f"median {found['median']:.2f} px, 95 % {found['p95']:.2f}, 99 % {found['p99']:.2f}, "
        f"worst frame {found['worst_frame']:.2f}, over {JUMP:.0f} px {found['jumps']:.2f} %"
    )


def measured(view: TrunkView, alpha: Path, parsing: Path) -> dict[str, float]:
    """The figures of one folder of masks: pixels of the crop, and percent of columns that jump."""
    with (
        FrameStore(sorted(alpha.glob("*.zip"))) as mattes,
        FrameStore(sorted(parsing.glob("*.zip"))) as masks,
    ):
        found, before = [], None
        for frame in masks.ids:
            edge = lower_edge(view, frame, mattes, masks)
            if before is not None:
                found.append(np.abs(edge - before) / view.scale)
            before = edge
    change = np.array(found)
    frames = np.nanmedian(change[np.isfinite(change).any(1)], axis=1)
    change = change[np.isfinite(change)]
    median, p95, p99 = np.percentile(change, [50, 95, 99])
    return {
        "median": float(median), "p95": float(p95), "p99": float(p99),
        "worst_frame": float(frames.max()), "jumps": 100 * float((change > JUMP).mean()),
    }  # fmt: skip


def lower_edge(view: TrunkView, frame: int, mattes: FrameStore, masks: FrameStore) -> np.ndarray:
    """(side,) row in the view where the mask ends in each column; NaN where no person is below."""
    planes = [decode_image(mattes.read(frame)), decode_image(masks.read(frame, "_neckhead"))]
    size = (round(planes[0].shape[1] * view.scale), round(planes[0].shape[0] * view.scale))
    small = np.dstack([cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in planes])
    matte, mask = np.moveaxis(view.seen(frame, small), -1, 0)
    inside = (mask > 127) & (matte > 127)
    last = len(inside) - 1 - np.argmax(inside[::-1], axis=0)
    column = np.arange(len(last))
    rows = np.minimum(last + 1, len(inside) - 1)
    upper, lower = mask[last, column], mask[rows, column]
    edge = last + np.clip((upper - 127.5) / np.maximum(upper - lower, 1), 0, 1)
    below = matte[np.minimum(last + BELOW, len(matte) - 1), column] > 200
    return np.where(inside.any(0) & below, edge, np.nan)


if __name__ == "__main__":
    main()
