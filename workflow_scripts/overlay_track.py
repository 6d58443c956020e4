"""Draw the tracked mesh and landmarks over the frames: track and frames -> overlay.mp4."""

import argparse
from pathlib import Path

from headsplat_workflow.codehash import code_version
from headsplat_workflow.stage import stage

from headsplat.tracking.overlay import overlay_track


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, required=True, help="head model .npz of the track")
    parser.add_argument("--track", type=Path, required=True, help="track.npz")
    parser.add_argument("--landmarks", type=Path, required=True, help="landmarks.npz of the clip")
    parser.add_argument("--crop", type=Path, required=True, help="crop.json of the clip")
    parser.add_argument("--frames", type=Path, nargs="+", required=True, help="frames/*.zip")
    parser.add_argument("--scratch", type=Path, required=True, help="folder of resumable state")
    parser.add_argument("--out", type=Path, required=True, help="mp4 to write")
    args = parser.parse_args(argv)
    overlay_track(
        args.head, args.track, args.landmarks, args.crop, args.frames, args.scratch, args.out,
        code_version("overlay_track"),
    )  # fmt: skip


if __name__ == "__main__":
    stage(main)
