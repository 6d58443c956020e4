"""A small finished subject as a project's files, and a running server of its page."""

import asyncio
import http.client
import json
import threading
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import numpy as np

from headsplat.frames.crop import Crop
from headsplat.frames.images import encode_jpeg, encode_png
from headsplat.frames.packs import FrameZipWriter
from headsplat.frames.table import FrameRow, write_frames
from headsplat.live.options import InputOptions
from headsplat.runtime.files import publish, write_json, write_npz
from headsplat.view.contents import Contents
from headsplat.view.files import SubjectFiles, project_files
from headsplat.view.live import LiveStream
from headsplat.view.options import ViewOptions
from headsplat.view.server import ViewServer
from tests.unit.driven import SIZE, arkit_like, make_subject

FRAMES = 12
PARTS = {"train": [1, 2, 3, 4, 9, 10, 11, 12], "test": [6, 7], "guard": [5, 8], "unusable": []}
PSNR = (31.5, 24.25)  # of the held-out frames


def make_project(root: Path, name: str = "anna") -> SubjectFiles:
    """Write a finished subject."""
    work, model = root / "work" / name, root / "results" / name / "avatar/model"
    for folder in (work / "track", root / "work/heads", work / "frames"):
        folder.mkdir(parents=True)
    make_subject(model, root / "work/heads/ict.npz", work / "track/track.npz", arkit_like())
    ids = range(1, FRAMES + 1)
    write_frames(work / "frames.tsv", [FrameRow(i, (i - 1) / 25, "ok", 1.0, 1) for i in ids])
    write_json(work / "split.json", {"mode": "spread", **PARTS})
    Crop(0, 0, SIZE, SIZE, SIZE, SIZE).save(work / "crop.json")
    write_npz(
        work / "landmarks.npz",
        ids=np.arange(1, FRAMES + 1, dtype=np.int32),
        points=np.full((FRAMES, 478, 3), SIZE / 2, np.float32),
    )
    write_npz(
        work / "evaluation.npz",
        ids=np.array(PARTS["test"], np.int32),
        psnr_head=np.array(PSNR, np.float32),
        ssim_head=np.array([0.9, 0.8], np.float32),
    )
    write_packs(work)
    return project_files(root, name)


def image_of(frame: int) -> np.ndarray:
    """(H, W, 3) an image whose left half is dark and whose blue tells the frame."""
    image = np.full((SIZE, SIZE, 3), 200, np.uint8)
    image[:, : SIZE // 2] = 30
    image[..., 2] = 10 * frame
    return image


def write_packs(work: Path) -> None:
    """Images, and mattes that cover all but the upper quarter."""
    matte = np.full((SIZE, SIZE), 255, np.uint8)
    matte[: SIZE // 4] = 0
    roles = {"frames": {"": None}, "alpha": {"": matte}}
    roles["parsing"] = {"_mouth": np.zeros_like(matte), "_neckhead": matte}
    for kind, images in roles.items():
        suffix = ".jpg" if kind == "frames" else ".png"
        (work / kind).mkdir(exist_ok=True)
        with publish(work / kind / "000.zip") as made, FrameZipWriter(made, suffix) as pack:
            for frame in range(1, FRAMES + 1):
                for role, image in images.items():
                    data = encode_jpeg(image_of(frame)) if image is None else encode_png(image)
                    pack.add(frame, data, role)


class Running:
    """A server in a thread.

    Attributes:
        server: the server; port: that it listens on; live: its stream, or None.
    """

    def __init__(
        self, server: ViewServer, loop: asyncio.AbstractEventLoop, live: LiveStream | None
    ) -> None:
        self.server, self.loop, self.live = server, loop, live
        self.port = int(server.address.split(":")[2].split("/")[0])
        self.token = server.guard.access.token

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict, bytes]:
        """Status, headers and body of a request with the token."""
        mark = "&" if "?" in path else "?"
        return self.plain(f"{path}{mark}token={self.token}", method, **headers)

    def plain(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict, bytes]:
        """The same without the token; `_` in names of headers is `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found

    def state(self) -> dict:
        """What the page asks for now and then."""
        return json.loads(self.ask("/data/state")[2])


@contextmanager
def running(files: SubjectFiles, phone: InputOptions | None = None, **options):
    """Serve a subject while it lasts, perhaps with a phone that speaks Live Link."""
    ready, ended = threading.Event(), asyncio.Event()
    found = []

    async def serve() -> None:
        async with AsyncExitStack() as stack:
            live = None
            if phone is not None:
                live = await stack.enter_async_context(LiveStream("live-link", phone))
            stream = None if live is None else live.serve
            server = ViewServer(Contents(files), ViewOptions(port=0, **options), stream)
            await stack.enter_async_context(server)
            found.append(Running(server, asyncio.get_running_loop(), live))
            ready.set()
            await ended.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    try:
        yield found[0]
    finally:
        found[0].loop.call_soon_threadsafe(ended.set)
        thread.join(10)
        assert not thread.is_alive()
