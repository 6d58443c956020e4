"""Options of `headsplat live`. Importing this module imports neither numpy nor torch."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from headsplat.drive.kinds import FACES, KINDS, RELATIVE
from headsplat.live.outputs import OUTPUTS
from headsplat.live.protocols import AUTO, PROTOCOLS, UNITS
from headsplat.options import add_arguments, option, schema_of

SPEAKER, MOTION = "speaker", "motion"
INPUTS = (*PROTOCOLS, SPEAKER, MOTION)
AS_SENT, REVERSED = "as-sent", "reversed"
MESSAGES, JPEG, RAW = "motion", "jpeg", "raw"
LEAST_TOKEN, LONGEST_TOKEN = 16, 200  # characters
TOKEN = f"{LEAST_TOKEN} to {LONGEST_TOKEN} letters, digits, - and _"


@dataclass(frozen=True)
class InputOptions:
    """What drives the avatar.

    Attributes:
        udp_host: see the helps.
        udp_port: 0 for the protocol's own.
        phone: empty for any.
        angles: one of `UNITS`.
        turns: `auto`, `as-sent` or `reversed`.
        calibrate: see its help.
        cutoff: Hz.
        gain: Hz for each unit a second.
        face: one of `FACES`.
        still: see its help.
    """

    udp_host: str = option("0.0.0.0", "address of this machine that listens to the phone")
    udp_port: int = option(0, "UDP port; 0: the app's own", low=0, high=65535)
    phone: str = option("", "IP address of the phone; others are ignored")
    angles: str = option(
        AUTO,
        "unit of head angles; auto: the app's, which Live Link Face leaves open, so that a turn of "
        "the ear to the shoulder decides",
        choices=UNITS,
    )
    turns: str = option(
        AUTO,
        "signs of yaw and roll; auto: the app's, decided by that turn where they are unknown",
        choices=(AUTO, AS_SENT, REVERSED),
    )
    calibrate: bool = option(True, "take the performer's neutral face in the first second")
    cutoff: float = option(
        1.5, "smoothing of a still face: cutoff in Hz; 0 for none", low=0, high=100
    )
    gain: float = option(
        4.0, "smoothing of a moving face: Hz of cutoff for each unit a second", low=0, high=100
    )
    face: str = option(
        RELATIVE,
        "relative: on top of the subject's neutral face; absolute: the coefficients themselves",
        choices=FACES,
    )
    still: bool = option(False, "keep the head still")


@dataclass(frozen=True)
class OutputOptions:
    """What is sent, and where.

    Attributes:
        send: one of `MESSAGES`, `JPEG` and `RAW`.
        host: see the helps.
        port: 0 for any.
        token: empty for a random one.
        fps: frames a second, at most.
        height: pixels; 0 for the clip's.
        background: `white` or #rrggbb.
        quality: of JPEG.
    """

    send: str = option(
        MESSAGES,
        "what a WebSocket sends: motion (for the avatar's web page), jpeg, or raw (RGB, 8 bits)",
        choices=(MESSAGES, JPEG, RAW),
    )
    host: str = option("127.0.0.1", "address of the WebSocket; another one needs --token")
    port: int = option(8765, "TCP port of the WebSocket; 0 for any", low=0, high=65535)
    token: str = option("", f"secret of the WebSocket's address, {TOKEN}; random by default")
    fps: int = option(60, "frames a second, at most", low=1, high=240)
    height: int = option(0, "of the images in pixels; 0: the clip's", low=0, high=4096)
    background: str = option("white", "white or #rrggbb")
    quality: int = option(85, "of JPEG images", low=1, high=100)


def add_live_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `headsplat live` takes beside the avatar."""
    parser.add_argument(
        "--in", dest="source", choices=INPUTS, required=True, metavar="INPUT",
        help=f"{PROTOCOLS.described()}; speaker: its voice on a sound; motion: a file",
    )  # fmt: skip
    parser.add_argument(
        "--out", choices=tuple(OUTPUTS), required=True, metavar="OUTPUT", help=OUTPUTS.described()
    )
    parser.add_argument(
        "--sound", help="for speaker: a file; - for 16 kHz mono 16-bit samples on standard input"
    )
    parser.add_argument("--motion", type=Path, help="for motion: the file")
    parser.add_argument(
        "--kind", choices=tuple(KINDS), metavar="KIND",
        help=f"for motion: what the file is; {KINDS.described()}",
    )  # fmt: skip
    add_arguments(parser.add_argument_group("input"), schema_of(InputOptions))
    add_arguments(parser.add_argument_group("output"), schema_of(OutputOptions))
    parser.add_argument(
        "--to", nargs=argparse.REMAINDER, default=[], metavar="...",
        help="last: arguments of ffmpeg's output, or the video device",
    )  # fmt: skip
