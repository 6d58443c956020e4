"""Send a face as Live Link Face on a phone would, to try a live avatar without one.

headsplat live results/demo --in live-link --out websocket
python examples/replay_csv.py
python examples/replay_csv.py results/demo/export/arkit.csv
"""

import argparse
import socket
import struct
import sys
import time
from pathlib import Path

import numpy as np

from headsplat.formats.arkit.live_link import read_live_link
from headsplat.formats.arkit.names import ROTATIONS
from headsplat.live.live_link_udp import UDP_BLENDSHAPES, VERSION
from headsplat.runtime.errors import UserError

COLUMNS = (*UDP_BLENDSHAPES, *ROTATIONS)
FPS, SECONDS = 60, 12
# What the take without a recording shows: first and last second, and the highest values between
# them. It begins as the calibration asks for: a relaxed face, then the left ear to the shoulder.
TAKE = (
    (1.5, 4.5, {"HeadRoll": -0.7}),
    (4.8, 5.1, {"EyeBlinkLeft": 1, "EyeBlinkRight": 1}),
    (5.0, 6.5, {"JawOpen": 0.7}),
    (6.5, 8.5, {"MouthSmileLeft": 0.9, "MouthSmileRight": 0.9, "CheekSquintLeft": 0.5}),
    (8.0, 9.5, {"BrowInnerUp": 0.9, "BrowOuterUpLeft": 0.8, "BrowOuterUpRight": 0.8}),
    (9.0, 10.5, {"HeadYaw": 0.4, "EyeLookOutLeft": 0.4, "EyeLookInRight": 0.4}),
    (10.4, 11.9, {"HeadYaw": -0.4, "MouthPucker": 0.8}),
)


def packet(values: np.ndarray, number: int) -> bytes:
    """A packet of the app, version 6: names, time, and (61,) values in `COLUMNS`' order."""
    names = b"".join(struct.pack(">i", len(name)) + name for name in (b"replay", b"replay"))
    head = struct.pack(">B", VERSION) + names + struct.pack(">ifii", number, 0.0, 60, 1)
    return head + struct.pack(f">B{len(values)}f", len(values), *values)


def own_take() -> tuple[np.ndarray, np.ndarray]:
    """Times (N,) in seconds and rows (N, 61) of `TAKE`."""
    times = np.arange(FPS * SECONDS) / FPS
    rows = np.zeros((len(times), len(COLUMNS)))
    for first, last, highest in TAKE:
        part = np.clip((times - first) / (last - first), 0, 1)
        for name, value in highest.items():
            rows[:, COLUMNS.index(name)] += value * np.sin(np.pi * part) ** 2
    return times, rows


def recorded(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The same of a table."""
    table = read_live_link(path)
    none = np.zeros(len(table.times))
    return table.times, np.stack([table.values.get(name, none) for name in COLUMNS], 1)


def main() -> None:
    """Send the rows at their times, once or over and over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "table",
        type=Path,
        nargs="?",
        help="CSV of Live Link Face; a built-in take without it",
    )
    parser.add_argument("--to", default="127.0.0.1", help="address of the computer")
    parser.add_argument("--port", type=int, default=11111)
    parser.add_argument("--once", action="store_true", help="end after the last row")
    args = parser.parse_args()
    try:
        times, rows = own_take() if args.table is None else recorded(args.table)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(f"sending {times[-1]:.0f} s to {args.to} port {args.port}; Ctrl-C ends it", flush=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        while True:
            start = time.monotonic()
            for number, (seconds, values) in enumerate(zip(times, rows, strict=True)):
                time.sleep(max(0.0, start + seconds - time.monotonic()))
                try:
                    out.sendto(packet(values, number), (args.to, args.port))
                except (OSError, OverflowError) as error:
                    sys.exit(f"error: {args.to} port {args.port} cannot be reached ({error})")
            if args.once:
                return
            time.sleep(1 / FPS)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
