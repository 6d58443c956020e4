"""Measure a trained avatar on held-out frames; render the whole clip beside the ground truth."""

import argparse
from pathlib import Path

from headsplat_workflow.codehash import code_version
from headsplat_workflow.stage import stage

from headsplat.avatar import load_avatar
from headsplat.evaluate.evaluation import evaluate
from headsplat.gaussians.raster.extension import serving_device
from headsplat.heads.model import HeadModel
from headsplat.runtime.files import read_json, write_json, write_npz
from headsplat.runtime.scratch import Scratch, state_key
from headsplat.track import read_track
from headsplat.train.dataset import ImageReader
from headsplat.train.lpips import load_lpips
from headsplat.train.track import load_track
from headsplat.video.sound import read_sound
from headsplat.video.timeline import FPS


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avatar", type=Path, required=True, help="folder of the trained avatar")
    parser.add_argument("--head", type=Path, required=True, help="head model (.npz)")
    parser.add_argument("--track", type=Path, required=True, help="track.npz")
    parser.add_argument("--split", type=Path, required=True, help="split.json")
    parser.add_argument("--frames", type=Path, nargs="+", required=True, help="zips of crops")
    parser.add_argument("--alpha", type=Path, nargs="+", required=True, help="zips of mattes")
    parser.add_argument("--parsing", type=Path, nargs="+", required=True, help="zips of masks")
    parser.add_argument("--video", type=Path, help="the source, for its sound")
    parser.add_argument(
        "--assets", type=Path, default=Path("assets"), help="where LPIPS weights may lie"
    )
    parser.add_argument("--scratch", type=Path, required=True, help="folder of resumable state")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.json to write")
    parser.add_argument("--evaluation", type=Path, required=True, help="evaluation.npz to write")
    parser.add_argument("--video-out", type=Path, required=True, help="test.mp4 to write")
    args = parser.parse_args(argv)
    head = HeadModel.load(args.head)
    track = load_track(args.track, head)
    device = serving_device("auto")
    avatar, lpips = load_avatar(args.avatar, head, device), load_lpips(args.assets, device)
    reader = ImageReader(args.frames, args.alpha, args.parsing, track.width, track.height)
    split = read_json(args.split)
    sound = read_sound(args.video, max(track.ids) / FPS) if args.video else None
    status = dict(zip(track.ids.tolist(), read_track(args.track).status.tolist(), strict=True))
    unused = {frame: status[frame].replace("_", " ") for frame in split["unusable"]}
    inputs = [*sorted(path for path in args.avatar.iterdir() if path.is_file()), args.head]
    inputs += [args.track, args.split, *args.frames, *args.alpha, *args.parsing]
    parameters = {"lpips_used": lpips is not None, "device": device.type}
    key = state_key(inputs, parameters, code_version("evaluate_avatar"))
    scratch = Scratch(args.scratch, key)
    metrics, arrays = evaluate(
        avatar, track, reader, split, unused, sound, args.video_out, lpips, scratch.folder
    )
    write_npz(args.evaluation, **arrays)
    write_json(args.metrics, metrics)
    scratch.clear()


if __name__ == "__main__":
    stage(main, gpu=True)
