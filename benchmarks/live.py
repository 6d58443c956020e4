"""Time a live avatar from a phone's packet to what leaves the program, on loopback.

    python benchmarks/live.py [--head work/heads/procedural.npz]

A sender in the same process sends a packet of Live Link Face, waits for what comes out, and sends
the next one a sixtieth of a second later. Measured is from the send call to the message in a
WebSocket's client, and to the last byte of a raw image at the reader of a pipe. The peer is the
drawing alone in the same run. A flood of 10,000 packets a second shows what its handling costs.
"""

import argparse
import asyncio
import importlib.util
import json
import math
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "workflow_scripts")]

from benchmarks.clips import Clip, synthetic_clip  # noqa: E402
from benchmarks.rasterizer import machine  # noqa: E402
from benchmarks.rendering import CPU, DEFAULT_HEAD, FRAMES, GPU, Load, trained, wait  # noqa: E402
from headsplat.avatar import Avatar  # noqa: E402
from headsplat.drive.subject import DrivenSubject  # noqa: E402
from headsplat.gaussians.raster.extension import serving_device  # noqa: E402
from headsplat.heads.model import HeadModel  # noqa: E402
from headsplat.live.drawing import LiveRenderer  # noqa: E402
from headsplat.live.driving import LiveDriver, resting  # noqa: E402
from headsplat.live.frame import checked_frame  # noqa: E402
from headsplat.live.options import InputOptions, OutputOptions  # noqa: E402
from headsplat.live.performer import Performer  # noqa: E402
from headsplat.live.pipes import StdoutOutput  # noqa: E402
from headsplat.live.protocols import PROTOCOLS  # noqa: E402
from headsplat.live.session import Session  # noqa: E402
from headsplat.live.sources import PhoneSource  # noqa: E402
from headsplat.runtime.process import available_threads  # noqa: E402
from tests.unit.live_packets import free_port, live_link, sender  # noqa: E402

RATE, WARM, PACKETS = 60, 30, 600
CPU_PACKETS = 60
LIVE_LINK = PROTOCOLS["live-link"]
MESSAGE_TARGET, IMAGE_TARGET, FLOOD = 20.0, 40.0, 10_000
PEER = "drawing the same frame alone"


class PipeOutput(StdoutOutput):
    """Raw images into a pipe of this process."""

    def __init__(self, size: tuple[int, int], write: int) -> None:
        super().__init__(OutputOptions(fps=240), size, ())
        self._write_end = write

    def _open(self) -> None:
        self._file = os.fdopen(self._write_end, "wb")

    async def _close(self) -> None:
        self._file.close()


def source(driver: LiveDriver | None) -> PhoneSource:
    """A phone on a free port; smoothed as by default, calibrated at once."""
    given = InputOptions(
        udp_host="127.0.0.1", udp_port=free_port(), calibrate=False, angles="radians"
    )
    return PhoneSource(LIVE_LINK, given, Performer(LIVE_LINK, given), driver)


def packet(k: int) -> bytes:
    """A performer who talks and turns the head."""
    phase = 2 * math.pi * k / RATE
    turn = [0.2 * math.sin(phase / 3), 0.1 * math.sin(phase / 5), 0.0, *[0.0] * 6]
    return live_link(turn, JawOpen=0.3 + 0.3 * math.sin(phase), MouthSmileLeft=0.3)


async def rally(port: int, answer: Callable[[], Awaitable[None]], count: int) -> np.ndarray:
    """(count,) seconds from sending a packet to its answer."""
    times = []
    with sender(port) as send:
        for k in range(WARM + count):
            begin = time.perf_counter()
            send(packet(k))
            await answer()
            took = time.perf_counter() - begin
            times.append(took)
            await asyncio.sleep(max(0.0, 1 / RATE - took))
    return np.array(times[WARM:])


async def message_times(count: int) -> np.ndarray:
    """Seconds from a packet to its message in a client."""
    import aiohttp

    from headsplat.live.websocket import WebSocketOutput

    output = WebSocketOutput(OutputOptions(port=0), (0, 0))
    session = Session(source(None), output, 240)
    running = asyncio.create_task(session.run())
    while not output.address:
        await asyncio.sleep(0.01)
    async with aiohttp.ClientSession() as client, client.ws_connect(output.address) as page:
        times = await rally(session.source.port, page.receive_bytes, count)
    running.cancel()
    return times


async def image_times(
    avatar: Avatar, subject: DrivenSubject, count: int, flood: bool = False
) -> np.ndarray:
    """Seconds from a packet to the last byte of its image at a reader."""
    renderer = LiveRenderer(avatar, subject.track, 0, (1.0, 1.0, 1.0))
    size = renderer.width, renderer.height
    read, write = os.pipe()
    loop, answers = asyncio.get_running_loop(), asyncio.Queue()

    def drain() -> None:
        with os.fdopen(read, "rb") as file:
            while len(file.read(3 * size[0] * size[1])) == 3 * size[0] * size[1]:
                loop.call_soon_threadsafe(answers.put_nowait, None)

    threading.Thread(target=drain, daemon=True).start()
    made = source(LiveDriver(avatar, subject))
    rest = resting(avatar, subject)
    session = Session(made, PipeOutput(size, write), 240, False, renderer, rest)
    running = asyncio.create_task(session.run())
    await answers.get()
    strangers = asyncio.create_task(_flood(made.port)) if flood else None
    times = await rally(made.port, answers.get, count)
    if strangers is not None:
        strangers.cancel()
    running.cancel()
    return times


async def _flood(port: int) -> None:
    with sender(port, "127.0.0.2") as send:
        while True:
            for _ in range(FLOOD // 500):
                send(packet(0))
            await asyncio.sleep(1 / 500)


def parts(avatar: Avatar, subject: DrivenSubject, count: int) -> tuple[float, float]:
    """Median seconds of a pose, and of drawing it."""
    renderer = LiveRenderer(avatar, subject.track, 0, (1.0, 1.0, 1.0))
    driver, found = LiveDriver(avatar, subject), []
    for k in range(WARM + count):
        weights = np.full(52, 0.2 + 0.1 * math.sin(k / 9))
        begin = time.perf_counter()
        posed = driver.pose(checked_frame(weights, [0.1 * math.sin(k / 9)] * 9, True), k / RATE)
        middle = time.perf_counter()
        renderer.draw(posed)
        wait(avatar.device)
        found.append((middle - begin, time.perf_counter() - middle))
    pose, draw = np.median(found[WARM:], 0)
    return float(pose), float(draw)


def row(what: str, value: float, target: float | None = None, peer: float | None = None) -> dict:
    """One row of the table, in milliseconds; the ratio is the time over the peer's."""
    return {
        "what": what, "value": round(1000 * value, 2), "unit": "ms", "target": target,
        "peer": PEER if peer else None, "peer_value": round(1000 * peer, 2) if peer else None,
        "ratio": round(value / peer, 2) if peer else None, "machine": machine(),
    }  # fmt: skip


def rows(clip: Clip, load: Load, device: torch.device) -> list[dict[str, Any]]:
    """All rows on one device."""
    count = PACKETS if device.type == "cuda" else CPU_PACKETS
    avatar = trained(clip, "blendshapes", load, device)
    shape = avatar.shape.detach().cpu()
    subject = DrivenSubject.from_track("the clip", avatar.head, shape, clip.track)
    pose, draw = parts(avatar, subject, count)
    what = f"{load.size} px, {len(avatar.anchors)} Gaussians"
    made = [
        row("pose of a frame: mapping, transfer, limits", pose),
        row(f"drawing to bytes, {what}", draw),
    ]
    if importlib.util.find_spec("aiohttp") is not None:
        times = asyncio.run(message_times(PACKETS))
        made.append(row("packet to message in a client, median", np.median(times), MESSAGE_TARGET))
        made.append(row("packet to message in a client, 99 %", np.percentile(times, 99)))
    for flood, name in ((False, ""), (True, ", 10,000 packets/s of a stranger")):
        times = asyncio.run(image_times(avatar, subject, count, flood))
        label = f"packet to image at a reader, {what}{name}"
        made.append(row(f"{label}, median", np.median(times), IMAGE_TARGET, draw))
        made.append(row(f"{label}, 99 %", np.percentile(times, 99)))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, default=ROOT / DEFAULT_HEAD)
    parser.add_argument("--out", type=Path, help="folder of the JSON file")
    args = parser.parse_args()
    torch.set_num_threads(available_threads())
    device = serving_device("auto")
    if not args.head.exists():
        parser.error(f"{args.head} is not there: make it with snakemake -c1 {DEFAULT_HEAD}")
    load = GPU if device.type == "cuda" else CPU
    made = rows(synthetic_clip(HeadModel.load(args.head), load.size, device, FRAMES), load, device)
    out = args.out or ROOT / "benchmarks" / "results"
    out.mkdir(parents=True, exist_ok=True)
    name = "live_gpu.json" if device.type == "cuda" else "live.json"
    (out / name).write_text(json.dumps(made, indent=1) + "\n")
    for r in made:
        line = f"{r['what']:85} {r['value']:8.2f} {r['unit']} target {r['target']}"
        print(line + (f"  peer {r['peer_value']}  {r['ratio']}x" if r["peer"] else ""))


if __name__ == "__main__":
    main()
