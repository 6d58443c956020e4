"""Turn a sound into the motion of a subject's face, by one of several voices."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.drive.kinds import AUTO, HEAD_MOTIONS, RELATIVE, MotionOptions
from headsplat.options import add_arguments, given
from headsplat.runtime.errors import shown
from headsplat.runtime.logs import log
from headsplat.speech.run import speak
from headsplat.speech.voices import (
    VOICES,
    SpeechOptions,
    all_options,
    own_options,
    why_chosen,
)


def _file(text: str) -> tuple[str, Path]:
    key, equals, path = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"'{shown(text)}' is not name=path")
    return key, Path(path)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, required=True, help="head model .npz")
    parser.add_argument("--track", type=Path, required=True, help="track.npz of the subject's clip")
    parser.add_argument("--sound", type=Path, required=True, help="sound or video file")
    parser.add_argument("--voice", choices=tuple(VOICES), required=True, help=VOICES.described())
    parser.add_argument(
        "--file", type=_file, action="append", default=[],
        help="name=path of a file that the voice needs; voice= is the learned voice.npz",
    )  # fmt: skip
    parser.add_argument("--transcript", type=Path, help="text file with the words of the sound")
    parser.add_argument("--asked", default=AUTO, help="what the table of motions asks for")
    parser.add_argument(
        "--head-motion", choices=HEAD_MOTIONS, default=RELATIVE, help="how the head moves"
    )
    parser.add_argument(
        "--blinks", choices=("yes", "no"), default="yes", help="add blinks where the voice has none"
    )
    add_arguments(parser, all_options())
    parser.add_argument(
        "--codes-out", type=Path, required=True, help="the same in the network's format, if any"
    )
    parser.add_argument("--out", type=Path, required=True, help="motion .npz to write")
    args = parser.parse_args(argv)
    files = dict(args.file)
    lacking = [name for name in VOICES[args.voice].assets if name not in files]
    if lacking:
        parser.error(f"the voice {args.voice} needs --file {lacking[0]}=path")
    if args.transcript is not None:
        files["transcript"] = args.transcript
    log.info("voice: %s (%s)", args.voice, why_chosen(args.asked, args.voice))
    args.codes_out.unlink(missing_ok=True)  # of an earlier voice
    options = SpeechOptions(
        files, MotionOptions(args.head_motion, args.blinks == "yes"), codes=args.codes_out,
        own=given(args, own_options(args.voice)),
    )  # fmt: skip
    speak(args.sound, args.head, args.track, VOICES[args.voice].load(), options, args.out)


if __name__ == "__main__":
    stage(main, gpu=True)
