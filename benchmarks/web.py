"""Time the web page's work in chromium, without a GPU: CPU of a frame, drawing, first image.

    python benchmarks/web.py --avatar results/demo/avatar [--head work/heads/ict.npz]
        [--spark FOLDER/node_modules]

CPU of a frame: from a code to the order of the Gaussians, which is what the page does in JS. Median
of single frames whose codes differ. Drawing: median time of a frame at 512 px until its pixels can
be read, drawn by SwiftShader on the CPU, so it says nothing of frames a second on a GPU. The peer
is Spark with the same Gaussians in the same browser, one pose and one view: it neither deforms nor
sorts in that time. `--spark` names a folder with the packages three and @sparkjsdev/spark. First
image: from opening the page's file until the avatar is drawn.
"""

import argparse
import base64
import functools
import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "workflow_scripts")]

from benchmarks.rasterizer import machine  # noqa: E402
from headsplat.avatar import Avatar  # noqa: E402
from headsplat.avatar_files import load_avatar, model_folder  # noqa: E402
from headsplat.formats.ply import write_ply  # noqa: E402
from headsplat.formats.splats import posed  # noqa: E402
from headsplat.frame_code import FrameCode  # noqa: E402
from headsplat.gaussians.anchors import sample_anchors  # noqa: E402
from headsplat.gaussians.deform.registry import build_deformation  # noqa: E402
from headsplat.heads.model import HeadModel  # noqa: E402
from headsplat.track import Track, load_track  # noqa: E402
from headsplat.web.container import write_payload  # noqa: E402
from headsplat.web.modules import joined  # noqa: E402
from headsplat.web.motions import motion_arrays  # noqa: E402
from headsplat.web.page_file import html_file, page_text  # noqa: E402
from headsplat.web.payload import avatar_payload  # noqa: E402
from tests.browser import Browser, Page  # noqa: E402

GAUSSIANS, SIZE, FRAMES, DRAWN, TURNS = 16000, 512, 300, 8, 4
CPU_TARGET, DRAW_TARGET, FIRST_TARGET = 6.0, 1.3, 3000.0  # ms; times Spark's; ms
PEER = "Spark"
_ENTRY = """
import { readPayload } from "./payload.js";
import { Deformer } from "./deform.js";
import { DepthOrder } from "./order.js";
import { Renderer } from "./renderer.js";

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const median = (times) => times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
let payload, deformer;
window.load = async (text) => {
  payload = await readPayload(bytesOf(text).buffer);
  deformer = new Deformer(payload);
};
const moved = (k) => {
  const { counts, base } = payload.meta;
  const code = deformer.neutralCode();
  for (let i = 0; i < counts.expressions; i++) code[i] = 0.5 + 0.5 * Math.sin(k + i);
  return [code, base];
};
// Milliseconds of CPU from a code to the order of the Gaussians.
window.cpu = (frames) => {
  const order = new DepthOrder(payload.meta.counts.gaussians + payload.meta.counts.torso);
  const { R, t } = payload.meta.base;
  const times = [];
  for (let k = 0; k < frames; k++) {
    const begin = performance.now();
    const frame = deformer.fromCode(...moved(k));
    order.sort(frame.means, R, t);
    times.push(performance.now() - begin);
  }
  return median(times);
};
// Milliseconds of drawing until the pixels can be read.
window.drawing = (size, frames, camera, code, pose) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
  const renderer = new Renderer(canvas, payload);
  const frame = deformer.fromCode(code, pose);
  const gl = canvas.getContext("webgl2");
  const times = [];
  for (let k = 0; k < frames; k++) {
    const begin = performance.now();
    renderer.draw(frame, camera, [1, 1, 1]);
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    times.push(performance.now() - begin);
  }
  renderer.dispose();
  return median(times.slice(2));
};
"""
_SPARK = """<!doctype html><meta charset="utf-8"><script type="importmap">{"imports": {
"three": "./three/build/three.module.js", "three/addons/": "./three/examples/jsm/",
"@sparkjsdev/spark": "./@sparkjsdev/spark/dist/spark.module.js"}}</script>
<script type="module">
import * as THREE from "three";
import { SplatMesh, SparkRenderer } from "@sparkjsdev/spark";
const median = (times) => times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
window.drawing = async (size, frames, focal, distance, file) => {
  const renderer = new THREE.WebGLRenderer({ antialias: false });
  renderer.setSize(size, size, false);
  renderer.setClearColor(0xffffff, 1);
  const scene = new THREE.Scene();
  scene.add(new SparkRenderer({ renderer, maxStdDev: 3.33, preBlurAmount: 0.3, blurAmount: 0 }));
  const bytes = Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0));
  const mesh = new SplatMesh({ fileBytes: bytes, fileName: "a.ply" });
  await mesh.initialized;
  scene.add(mesh);
  const angle = (2 * Math.atan(size / 2 / focal) * 180) / Math.PI;
  const camera = new THREE.PerspectiveCamera(angle, 1, 0.01, 10);
  camera.position.set(0, 0, distance);
  const gl = renderer.getContext();
  const times = [];
  for (let k = 0; k < frames + 8; k++) {
    const begin = performance.now();
    renderer.render(scene, camera);
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    times.push(performance.now() - begin);
    // Its order is made meanwhile.
    await new Promise((done) => setTimeout(done, 100));
  }
  return median(times.slice(10));
};
window.ready = true;
</script>"""


def script_page(browser: Browser, folder: Path) -> Page:
    """A page with the modules that deform and draw."""
    script = joined(_ENTRY, lambda name: page_text(f"{name}.js"))
    file = folder / "page.html"
    file.write_text(f'<!doctype html><meta charset="utf-8"><script type="module">{script}</script>')
    return browser.page(file.as_uri())


def load(page: Page, avatar: Avatar, track: Track) -> dict[str, Any]:
    """Give an avatar to the page; returns its JSON."""
    meta, arrays = avatar_payload("benchmark", avatar, track)
    text = base64.b64encode(write_payload(meta, arrays)).decode()
    page.run(f"load({json.dumps(text)})")
    return meta


def large_avatar(head: HeadModel) -> Avatar:
    """`GAUSSIANS` untrained Gaussians on a head: the time does not depend on their numbers."""
    torch.manual_seed(0)
    anchors = sample_anchors(head, head.template, GAUSSIANS)
    settings = {"count": GAUSSIANS, "condition_size": FrameCode.size(head)}
    deformation = build_deformation("blendshapes", settings)
    with torch.no_grad():
        for parameter in deformation.parameters():
            parameter.normal_(0, 0.1)
    deformation.code_range.copy_(torch.tensor([[-9.0], [9.0]]).expand(2, -1))
    shape = torch.zeros(head.shape_basis.shape[2])
    return Avatar(head, shape, anchors, deformation, torch.device("cpu"))


def frontal(meta: dict[str, Any]) -> tuple[dict[str, Any], float, float]:
    """A camera in front of the head, centered, and its focal length and distance."""
    focal = meta["camera"]["K"][0] * SIZE / meta["camera"]["width"]
    distance = float(meta["base"]["t"][2])
    camera = {
        "K": [focal, focal, SIZE / 2, SIZE / 2], "width": SIZE, "height": SIZE,
        "R": [1, 0, 0, 0, -1, 0, 0, 0, -1], "t": [0, 0, distance],
    }  # fmt: skip
    return camera, focal, distance


@contextmanager
def spark_page(browser: Browser, packages: Path) -> Iterator[Page]:
    """A page with Spark, served on loopback because its modules are files of their own."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/spark.html":
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(_SPARK.encode())
            return None

        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Handler, directory=str(packages))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        page = browser.page(f"http://127.0.0.1:{server.server_port}/spark.html")
        page.until("window.ready")
        yield page
    finally:
        server.shutdown()


def neutral_ply(avatar: Avatar, distance: float) -> str:
    """The avatar's neutral face as a .ply, in base64."""
    pose = torch.diag(torch.tensor([1.0, -1, -1]))[None], torch.tensor([[0.0, 0, distance]])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "avatar.ply")
        write_ply(file, *posed(avatar, FrameCode.neutral(avatar.head).vector[None], *pose))
        return base64.b64encode(file.read_bytes()).decode()


def drawing_times(
    browser: Browser, page: Page, packages: Path | None, avatar: Avatar, meta: dict[str, Any]
) -> tuple[float, float | None]:
    """Milliseconds of a drawn frame, ours and Spark's: in turns, the least of `TURNS` medians."""
    camera, focal, distance = frontal(meta)
    code = FrameCode.neutral(avatar.head).vector.tolist()
    pose = {"R": camera["R"], "t": camera["t"]}
    values = ", ".join(map(json.dumps, (SIZE, DRAWN, camera, code, pose)))
    if packages is None:
        return min(page.run(f"drawing({values})", 300) for _ in range(TURNS)), None
    content = json.dumps(neutral_ply(avatar, distance))
    call = f"drawing({SIZE}, {DRAWN}, {focal}, {distance}, {content})"
    with spark_page(browser, packages.resolve()) as spark:
        turns = [(page.run(f"drawing({values})", 300), spark.run(call, 300)) for _ in range(TURNS)]
    return tuple(map(min, zip(*turns, strict=True)))


def first_image(browser: Browser, folder: Path, avatar: Avatar, track: Track) -> float:
    """Milliseconds from opening the avatar's page until it is drawn; the median of three."""
    meta, arrays = avatar_payload("benchmark", avatar, track)
    entries, moving = motion_arrays(avatar, track, None, (), 60)
    file = folder / "whole.html"
    packed = write_payload(meta | {"motions": entries}, arrays | moving)
    file.write_text(html_file("benchmark", packed, {}))
    times = []
    for _ in range(3):
        page = browser.page(file.as_uri(), SIZE, SIZE)
        page.until("document.getElementById('waiting').hidden")
        # The frame after next is drawn after the first.
        times.append(
            page.run("""new Promise((done) => requestAnimationFrame(() =>
            requestAnimationFrame(() => done(performance.now()))))""")
        )
        page.close()
    return sorted(times)[1]


def row(what: str, value: float, target: float | None, peer: float | None = None) -> dict[str, Any]:
    """One row of the table, in milliseconds; the ratio is our time over the peer's."""
    return {
        "what": what, "value": round(value, 2), "unit": "ms", "target": target and round(target, 1),
        "peer": None if peer is None else PEER, "machine": f"{machine()}, chromium",
        "peer_value": None if peer is None else round(peer, 2),
        "ratio": None if peer is None else round(value / peer, 2),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--avatar", type=Path, required=True, help="folder of a trained avatar")
    parser.add_argument("--head", type=Path, help="head of the large avatar; default: that one's")
    parser.add_argument("--spark", type=Path, help="node_modules with three and Spark")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    avatar = load_avatar(model_folder(args.avatar), device="cpu")
    track = load_track(args.avatar)
    head = HeadModel.load(args.head) if args.head else avatar.head
    rows = []
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        page = script_page(browser, Path(folder))
        meta = load(page, avatar, track)
        ours, peer = drawing_times(browser, page, args.spark, avatar, meta)
        what = f"page, {avatar.count} Gaussians, {SIZE} px, drawing by SwiftShader"
        rows.append(row(what, ours, peer and DRAW_TARGET * peer, peer))
        opened = first_image(browser, Path(folder), avatar, track)
        rows.append(row(f"page, {avatar.count} Gaussians, first image", opened, FIRST_TARGET))
        if head is not avatar.head:
            track = head_track(track, head)
        load(page, large_avatar(head), track)
        page.run(f"cpu({FRAMES // 10})")
        cpu = page.run(f"cpu({FRAMES})", seconds=300)
        rows.append(
            row(f"page, {GAUSSIANS} Gaussians on {head.name}, CPU of a frame", cpu, CPU_TARGET)
        )
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "web.json").write_text(json.dumps(rows, indent=1) + "\n")
    for item in rows:
        print(item)


def head_track(track: Track, head: HeadModel) -> Track:
    """The camera and poses of a track with neutral codes of another head."""
    count = len(track)
    code = FrameCode.neutral(head)
    return replace(
        track, head_name=head.name, head_version=head.version,
        shape=torch.zeros(head.shape_basis.shape[2]).numpy(),
        exp=code.exp.expand(count, -1).numpy(), jaw=code.jaw.expand(count, -1).numpy(),
        eyes=code.eyes.expand(count, -1).numpy(), eyelids=code.eyelids.expand(count, -1).numpy(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
