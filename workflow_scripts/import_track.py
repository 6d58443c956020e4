"""Import a clip that another tool tracked: writes track, identity, crop and frame table."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.detect.options import CropOptions
from headsplat.formats.import_stage import FaceDetector, Outputs, import_track
from headsplat.formats.importing.clip import ImportOptions
from headsplat.formats.registry import FORMATS, ImportSettings
from headsplat.heads.model import HeadModel
from headsplat.options import add_arguments, parsed, schema_of


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=tuple(FORMATS), required=True, help=FORMATS.described())
    parser.add_argument("--folder", type=Path, required=True, help="the folder")
    parser.add_argument("--head", type=Path, required=True, help="head model .npz")
    parser.add_argument("--images", type=Path, help="own folder of images, instead of its own")
    parser.add_argument("--frame-delta", type=int, help="image number minus frame number")
    parser.add_argument("--flame-version", choices=("2020", "2023"), help="whose codes they are")
    parser.add_argument("--record", type=Path, required=True, help="import.json to write")
    parser.add_argument("--track", type=Path, required=True, help="track.npz to write")
    parser.add_argument("--identity", type=Path, required=True, help="identity.npy to write")
    parser.add_argument("--crop", type=Path, required=True, help="crop.json to write")
    parser.add_argument("--frames", type=Path, required=True, help="frames.tsv to write")
    parser.add_argument("--info", type=Path, required=True, help="video.json to write")
    parser.add_argument("--landmarks", type=Path, required=True, help="landmarks.npz to write")
    add_arguments(parser, schema_of(ImportSettings) | schema_of(CropOptions))
    args = parser.parse_args(argv)
    options = ImportOptions(
        HeadModel.load(args.head), args.frame_delta, args.images, args.flame_version,
        parsed(ImportSettings, args).blink_gain, FaceDetector(),
    )  # fmt: skip
    outputs = Outputs(
        args.record, args.track, args.identity, args.crop, args.frames, args.info, args.landmarks
    )
    import_track(args.kind, args.folder, options, parsed(CropOptions, args).size, outputs)


if __name__ == "__main__":
    stage(main)
