"""The console command `headsplat`: the library for people without the workflow."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from headsplat.drive.face_options import add_face_arguments
from headsplat.drive.kinds import AUTO, HEAD_MOTIONS, KINDS, RELATIVE
from headsplat.drive.look import Look
from headsplat.live.options import InputOptions, OutputOptions, add_live_arguments
from headsplat.options import add_arguments, given, parsed, schema_of
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.failures import user_error
from headsplat.runtime.logs import OneLine
from headsplat.runtime.process import end_children, exit_now
from headsplat.runtime.release import installed_version
from headsplat.runtime.stopping import SIGNALS
from headsplat.speech.voices import VOICES
from headsplat.view.options import ViewOptions, phone_schema

_EXAMPLES = """examples:
  headsplat models
  headsplat doctor
  headsplat info results/anna/avatar
  headsplat render results/anna/avatar --frames 7 -o anna.png
  headsplat render results/anna/avatar --track work/ben/track/track.npz -o ben.mp4
  headsplat drive results/anna/avatar --motion speech.npz --kind diffposetalk -o driven.mp4
  headsplat live results/anna/avatar --in live-link --out websocket
  headsplat view results/anna
"""


class _Signaled(SystemExit):
    """Raised on a signal; the exit status is 128 plus the signal's number."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status.

    A user error is one line on standard error and status 1. A signal gives status 128 plus its
    number: 130 for Ctrl-C, 143 for SIGTERM. Output files appear only when complete.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        args = _parser().parse_args(argv)
        _raise_on_signals()
        args.run(args)
        if sys.stdout is not None:  # the caller closed it
            sys.stdout.flush()
    except _Signaled as signaled:
        print("stopped", file=sys.stderr)
        exit_now(int(signaled.code or 0))
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        line = user_error(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return 1
    return 0


def _raise_on_signals() -> None:
    """Raise `_Signaled` on Ctrl-C, SIGTERM and SIGHUP, unless the caller had them ignored."""

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        for other in SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        end_children()  # compilers, which threads wait for
        raise _Signaled(128 + number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


class _Version(argparse.Action):
    """`--version`; the package's metadata is read only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"headsplat {installed_version()}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headsplat",
        description="Show, render and drive 3D Gaussian head avatars.",
        epilog=_EXAMPLES + "\n`headsplat COMMAND --help` explains a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], None], what: str, *examples: str):
        lines = "".join(f"\n  headsplat {name}{' ' * bool(words)}{words}" for words in examples)
        added = commands.add_parser(
            name,
            help=what[0].lower() + what[1:].rstrip("."),
            description=what,
            epilog=f"example:{lines}" if len(examples) == 1 else f"examples:{lines}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=run)
        return added

    command("doctor", _doctor, "Check machine, GPU, compilers, operators and networks.", "")
    info = command(
        "info", _info, "Say what a file or folder is: avatar, track, head, .frame or video.",
        "results/anna/avatar", "work/anna/track/track.npz", "talk.mp4",
    )  # fmt: skip
    info.add_argument("path", type=Path, metavar="PATH", help="the file or folder")

    render = command(
        "render", _render, "Draw an avatar with the codes and the camera of a track.",
        "results/anna/avatar -o anna.mp4 --audio anna.wav",
        "results/anna/avatar --frames 7 -o anna.png",
        "results/anna/avatar --track work/ben/track/track.npz --frames 1:50 -o images",
    )  # fmt: skip
    render.add_argument("avatar", type=Path, metavar="AVATAR", help="folder of the avatar")
    render.add_argument(
        "--track", type=Path, help="track.npz of the same head; by default the avatar's own"
    )
    render.add_argument(
        "--frames", type=_frames, metavar="FIRST[:LAST]", help="ids of frames; all by default"
    )
    render.add_argument("--audio", type=Path, help="sound that starts with the first frame")
    render.add_argument(
        "-o", "--out", type=Path, required=True, help=".mp4, .png (of one frame) or a new folder"
    )

    drive = command(
        "drive", _drive, "Play a motion on an avatar, as a video.",
        "results/anna/avatar --motion speech.npz --kind diffposetalk --audio speech.wav -o out.mp4",
        "results/anna/avatar --motion phone.csv --kind arkit -o out.mp4",
        "results/anna/avatar --motion hello.wav --kind speech -o out.mp4",
        "results/anna/avatar --motion hello.wav --kind speech -o out.webm",
        "results/anna/avatar --motion hello.wav --kind speech --body paste --clip work/anna "
        "-o out.mp4",
    )  # fmt: skip
    drive.add_argument("avatar", type=Path, metavar="AVATAR", help="folder of the avatar")
    drive.add_argument("--motion", type=Path, required=True, help="the motion's file")
    drive.add_argument(
        "--kind", choices=tuple(KINDS), required=True, metavar="KIND",
        help=f"what the motion is; {KINDS.described()}",
    )  # fmt: skip
    drive.add_argument(
        "--head-motion", choices=HEAD_MOTIONS, default=RELATIVE, help="how the head moves"
    )
    add_face_arguments(drive)
    drive.add_argument(
        "--voice", choices=(AUTO, *VOICES), default=AUTO,
        help="who speaks; auto: the avatar's learned voice, else phones",
    )  # fmt: skip
    drive.add_argument("--voice-file", type=Path, help="file or folder of the voice")
    drive.add_argument("--transcript", type=Path, help="text file with the words of the sound")
    drive.add_argument(
        "--audio", type=Path, help="sound that starts with the motion; speech has its own"
    )
    add_arguments(drive, schema_of(Look))
    drive.add_argument(
        "--clip", type=Path, help="the avatar's clip, work/<subject>, for own and paste"
    )
    drive.add_argument(
        "-o", "--out", type=Path, required=True, help=".mp4, .mov, .webm or .png.zip to write"
    )

    live = command(
        "live", _live, "Drive an avatar while somebody performs or speaks.",
        "results/anna/avatar --in live-link --out websocket",
        "results/anna/avatar --in ifacialmocap --phone 192.168.1.7 --out virtual-camera",
        "results/anna/avatar --in vmc --out ffmpeg --to -c:v libx264 -tune zerolatency -f flv "
        "rtmp://localhost/live",
        "results/anna/avatar --in speaker --sound - --out stdout < talk.s16 | ffplay -f rawvideo "
        "-video_size 512x512 -",
    )  # fmt: skip
    live.add_argument(
        "avatar", type=Path, metavar="AVATAR", help="results/<subject>, or the folder of an avatar"
    )
    add_live_arguments(live)

    view = command(
        "view", _view, "Show a subject on a page of this machine, also while its run goes on.",
        "results/anna",
        "anna --live live-link",
        "work/anna --port 9000",
    )  # fmt: skip
    view.add_argument(
        "subject", metavar="SUBJECT",
        help="results/<subject> or work/<subject>, its name, or an avatar's folder",
    )  # fmt: skip
    add_arguments(view, schema_of(ViewOptions))
    add_arguments(view.add_argument_group("phone, with --live"), phone_schema())

    models = command(
        "models", _models, "Fetch the files of the default detection and matting models.",
        "", "--to /data/models",
    )  # fmt: skip
    models.add_argument(
        "--to", type=Path, metavar="FOLDER",
        help="folder for them, which HEADSPLAT_MODELS is then to name; "
        "by default the Python environment's",
    )  # fmt: skip
    return parser


def _frames(text: str) -> tuple[int, int]:
    """FIRST:LAST or one id -> first and last id."""
    first, colon, last = text.partition(":")
    try:
        ids = int(first), int(last if colon else first)
    except ValueError:
        ids = 0, 0
    if not 1 <= ids[0] <= ids[1]:
        raise argparse.ArgumentTypeError(
            f"'{shown(text)}' is not FIRST:LAST, such as 1:50, or one id"
        )
    return ids


# Commands import lazily: `--help` loads neither numpy nor PyTorch.


def _doctor(args: argparse.Namespace) -> None:
    from headsplat.doctor.examine import LIBRARY_CHECKS, examine

    del args
    examine(LIBRARY_CHECKS)


def _info(args: argparse.Namespace) -> None:
    from headsplat.command.info import describe

    rows = describe(args.path)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def _render(args: argparse.Namespace) -> None:
    from headsplat.command.render import render

    render(args.avatar, args.track, args.frames, args.audio, args.out)


def _drive(args: argparse.Namespace) -> None:
    from headsplat.command.render import drive

    drive(
        args.avatar, args.motion, args.kind, args.out, head_motion=args.head_motion,
        audio=args.audio, face=args.face, amplitude=args.amplitude, neutral=args.neutral,
        subject_neutral=args.subject_neutral, voice=args.voice, voice_file=args.voice_file,
        transcript=args.transcript, clip=args.clip, **given(args, schema_of(Look)),
    )  # fmt: skip


def _live(args: argparse.Namespace) -> None:
    from headsplat.command.live import live

    options = parsed(InputOptions, args), parsed(OutputOptions, args)
    motion = args.motion, args.kind
    live(args.avatar, args.source, args.out, *options, args.sound, motion, args.to)


def _view(args: argparse.Namespace) -> None:
    try:
        from headsplat.view.files import subject_files
        from headsplat.view.run import view
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        raise UserError("aiohttp is not installed: pip install 'headsplat[live]'") from error
    view(subject_files(args.subject), parsed(ViewOptions, args), parsed(InputOptions, args))


def _models(args: argparse.Namespace) -> None:
    from headsplat.networks.fetch_models import fetch_models
    from headsplat.networks.model_files import MODEL_FILES, default_folder

    folder = args.to or default_folder()
    fetched = fetch_models(folder)
    for name, facts in MODEL_FILES.items():
        state = "fetched" if folder / name in fetched else "present"
        print(f"{folder / name}: {state} ({facts.licence})")


if __name__ == "__main__":
    sys.exit(main())
