"""Refine a landmark track against frames and mattes, and solve the trunk; publish the result."""

import argparse
from pathlib import Path

from headsplat_workflow.codehash import code_version
from headsplat_workflow.stage import stage

from headsplat.options import add_arguments, parsed, schema_of
from headsplat.tracking.options import TrackOptions
from headsplat.tracking.photometric.publish import NEVER, publish_unrefined


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, required=True, help="head model .npz")
    parser.add_argument("--track", type=Path, required=True, help="the landmarks' track .npz")
    parser.add_argument("--landmarks", type=Path, required=True, help="landmarks.npz of the clip")
    parser.add_argument("--crop", type=Path, required=True, help="crop.json of the clip")
    parser.add_argument("--frames-table", type=Path, required=True, help="frames.tsv of the clip")
    parser.add_argument("--frames", type=Path, nargs="*", default=[], help="zips of crops")
    parser.add_argument("--alpha", type=Path, nargs="*", default=[], help="zips of mattes")
    parser.add_argument("--identity", type=Path, help="identity .npy that the track was made with")
    schema = schema_of(TrackOptions)
    add_arguments(parser, {name: schema[name] for name in ("photometric", "trunk")})
    parser.add_argument("--scratch", type=Path, help="folder for resumable state")
    parser.add_argument("--out", type=Path, required=True, help="track.npz to write")
    parser.add_argument("--identity-out", type=Path, required=True, help="identity.npy to write")
    parser.add_argument("--refinement-out", type=Path, required=True, help="refinement.json")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    args = parser.parse_args(argv)
    options = parsed(TrackOptions, args)
    if (options.photometric, options.trunk) == (NEVER, "none"):
        publish_unrefined(args.track, args.out, args.identity_out, args.refinement_out)
        return
    # Imported only here, because publishing alone needs no PyTorch.
    from headsplat.tracking.photometric.run import refine_track

    refine_track(
        args.head, args.track, args.landmarks, args.crop, args.frames_table, args.frames,
        args.alpha, args.out, args.identity_out, args.refinement_out, args.identity,
        options.photometric, args.scratch, args.device, code_version("refine_track"),
        options.trunk == "solve",
    )  # fmt: skip


if __name__ == "__main__":
    stage(main, gpu=True)
