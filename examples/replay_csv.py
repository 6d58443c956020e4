"""Send a recording of Live Link Face as its phone would, to try a live avatar without a phone.

headsplat live results/anna/avatar --in live-link --out websocket --angles radians
python examples/replay_csv.py take.csv
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


def packet(values: np.ndarray, number: int) -> bytes:
    """A packet of the app, version 6: names, time, and (61,) values in `COLUMNS`' order."""
    names = b"".join(struct.pack(">i", len(name)) + name for name in (b"replay", b"replay"))
    head = struct.pack(">B", VERSION) + names + struct.pack(">ifii", number, 0.0, 60, 1)
    return head + struct.pack(f">B{len(values)}f", len(values), *values)


def main() -> None:
    """Send the rows at their times, once or over and over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="CSV of Live Link Face")
    parser.add_argument("--to", default="127.0.0.1", help="address of the computer")
    parser.add_argument("--port", type=int, default=11111)
    parser.add_argument("--once", action="store_true", help="end after the last row")
    args = parser.parse_args()
    try:
        table = read_live_link(args.table)
    except UserError as error:
        sys.exit(f"error: {error}")
    none = np.zeros(len(table.times))
    rows = np.stack([table.values.get(name, none) for name in COLUMNS], 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        while True:
            start = time.monotonic()
            for number, (seconds, values) in enumerate(zip(table.times, rows, strict=True)):
                time.sleep(max(0.0, start + seconds - time.monotonic()))
                try:
                    out.sendto(packet(values, number), (args.to, args.port))
                except (OSError, OverflowError) as error:
                    sys.exit(f"error: {args.to} port {args.port} cannot be reached ({error})")
            if args.once:
                return


if __name__ == "__main__":
    main()
