"""Export a trained avatar as one HTML file that draws and plays it in a browser."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.drive.face_options import frame_numbers
from headsplat.drive.kinds import AMPLITUDES, FACES, HEAD_MOTIONS, KINDS, MotionOptions
from headsplat.export.frames import MotionFile
from headsplat.export.options import ExportOptions, head_schema
from headsplat.options import add_arguments, parsed, schema_of
from headsplat.runtime.errors import UserError, shown
from headsplat.web.motions import PlayedMotion
from headsplat.web.options import WebOptions
from headsplat.web.run import export_web

_CHOICES = {"kind": tuple(KINDS), "head_motion": HEAD_MOTIONS, "face": FACES,
            "amplitude": AMPLITUDES, "blinks": ("yes", "no")}  # fmt: skip
_KEYS = ("name", "file", "audio", "neutral", "subject_neutral", *_CHOICES)


def played(words: list[str]) -> PlayedMotion:
    """The motion of words such as `name=hello`, `kind=speech` and `file=hello.npz`."""
    given = {key: value for key, _, value in (word.partition("=") for word in words)}
    for key, value in given.items():
        if key not in _KEYS or value not in _CHOICES.get(key, (value,)):
            raise UserError(f"--motion: '{shown(key)}={shown(value)}' is not known")
    if not {"name", "kind", "file"} <= given.keys():
        raise UserError("--motion: give at least name=, kind= and file=")
    chosen = {key: given[key] for key in ("head_motion", "face", "amplitude") if key in given}
    for key in ("neutral", "subject_neutral"):
        chosen[key] = frame_numbers(given.get(key, ""))
    options = MotionOptions(blinks=given.get("blinks") != "no", **chosen)
    sound = Path(given["audio"]) if given.get("audio") else None
    motion = MotionFile(Path(given["file"]), given["kind"], options)
    return PlayedMotion(given["name"], motion, sound)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the subject's name, for the title")
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained avatar")
    parser.add_argument("--head", type=Path, required=True, help="head model .npz")
    parser.add_argument("--track", type=Path, required=True, help="track.npz of the avatar's clip")
    parser.add_argument("--video", type=Path, help="the clip's video, for its sound")
    parser.add_argument(
        "--motion", nargs="+", action="append", default=[], metavar="KEY=VALUE",
        help=f"a motion to play: {', '.join(f'{key}=' for key in _KEYS)}",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help=".html to write")
    options = schema_of(WebOptions)
    del options["motions"]
    add_arguments(parser, options | head_schema())
    args = parser.parse_args(argv)
    export_web(
        args.name, args.model, args.head, args.track, args.video,
        [played(words) for words in args.motion], parsed(WebOptions, args),
        parsed(ExportOptions, args).pass_on_head, args.out,
    )  # fmt: skip


if __name__ == "__main__":
    stage(main)
