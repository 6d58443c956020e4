"""Track a clip: fit the head model to landmarks; writes the packed track and the identity."""

import argparse
from pathlib import Path

from headsplat_workflow.codehash import code_version
from headsplat_workflow.stage import stage

from headsplat.tracking.run import track_head


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, required=True, help="head model .npz")
    parser.add_argument("--landmarks", type=Path, required=True, help="landmarks.npz of the clip")
    parser.add_argument("--crop", type=Path, required=True, help="crop.json of the clip")
    parser.add_argument("--frames", type=Path, required=True, help="frames.tsv of the clip")
    parser.add_argument("--out", type=Path, required=True, help="track.npz to write")
    parser.add_argument("--identity-out", type=Path, required=True, help="identity.npy to write")
    parser.add_argument("--identity", type=Path, help="identity .npy, the mean of its prior")
    parser.add_argument("--intrinsics", help="fx,fy,cx,cy[,width,height] in pixels of the source")
    parser.add_argument("--scratch", type=Path, help="folder for resumable state")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to solve")
    args = parser.parse_args(argv)
    track_head(
        args.head,
        args.landmarks,
        args.crop,
        args.frames,
        args.out,
        args.identity_out,
        args.identity,
        args.intrinsics,
        args.scratch,
        args.device,
        code_version("track_head"),
    )


if __name__ == "__main__":
    stage(main)
