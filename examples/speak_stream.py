"""Pipe a microphone or a speech synthesizer through an avatar, as it speaks.

    arecord -q -t raw -f S16_LE -r 16000 -c 1 |
        python examples/speak_stream.py results/anna/avatar --out -f matroska - | ffplay -
    tts --raw "Hello" |
        python examples/speak_stream.py results/anna/avatar --rate 22050 --out hello.mp4

Standard input is signed 16-bit mono sound. What follows --out are the output arguments of ffmpeg,
which gets the images at the frame rate of the avatar's clip. `headsplat live --in speaker` does the
same without Python; here each image comes with its own sound.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator

import numpy as np

import headsplat
from headsplat.live.spoken import Shown, SpokenStream
from headsplat.runtime.errors import UserError


def spoken(stream: SpokenStream, file) -> Iterator[Shown]:
    """Images with their sound, for 16-bit sound from a binary file until it ends."""
    size = 2 * round(stream.rate / stream.fps)
    rest = b""
    while data := file.read(size):
        data = rest + data
        whole = len(data) // 2 * 2
        rest = data[whole:]
        yield from stream.say(np.frombuffer(data[:whole], "<i2"))
    yield from stream.flush()


def main() -> None:
    """Read sound, draw, and pipe into ffmpeg."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("avatar", help="folder of an avatar that has learned a voice")
    parser.add_argument("--rate", type=int, default=16000, help="of the sound, Hz")
    parser.add_argument("--out", nargs=argparse.REMAINDER, required=True, help="for ffmpeg, last")
    args = parser.parse_args()
    try:
        stream = SpokenStream(headsplat.load_avatar(args.avatar), args.rate)
    except UserError as error:
        sys.exit(f"error: {error}")
    command = [
        "ffmpeg", "-loglevel", "warning", "-f", "rawvideo", "-pix_fmt", "rgb24",
        "-video_size", f"{stream.width}x{stream.height}", "-framerate", str(stream.fps),
        "-i", "pipe:0", *args.out,
    ]  # fmt: skip
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            for shown in spoken(stream, sys.stdin.buffer):
                process.stdin.write(shown.image.tobytes())
    except OSError as error:
        sys.exit(f"error: ffmpeg takes no more images ({error})")


if __name__ == "__main__":
    main()
