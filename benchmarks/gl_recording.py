"""Record the WebGL calls of the web page's renderer, for `web_gl.py` to repeat on a GPU.

    python benchmarks/gl_recording.py --avatar results/demo/avatar --out recording.npz [--twice]

Chromium draws one frame of the avatar's clip at 512 px by the page's own modules. Kept are all
calls that make something, those of one frame, and the library's image of that frame. `--twice` puts
every Gaussian there twice, for the time of a larger avatar.
"""

import argparse
import base64
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "workflow_scripts")]

from headsplat.avatar import Avatar  # noqa: E402
from headsplat.avatar_files import load_avatar, model_folder  # noqa: E402
from headsplat.gaussians.anchors import Anchors  # noqa: E402
from headsplat.gaussians.deform.blendshapes import LAYOUT  # noqa: E402
from headsplat.gaussians.deform.registry import build_deformation  # noqa: E402
from headsplat.track import Track, load_track  # noqa: E402
from headsplat.web.container import write_payload  # noqa: E402
from headsplat.web.modules import joined  # noqa: E402
from headsplat.web.page_file import page_text  # noqa: E402
from headsplat.web.payload import avatar_payload  # noqa: E402
from tests.browser import Browser  # noqa: E402

SIZE = 512
_ENTRY = """
import { readPayload } from "./payload.js";
import { Deformer } from "./deform.js";
import { Renderer } from "./renderer.js";

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const textOf = (bytes) => {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return btoa(text);
};
const calls = [], objects = new Map(), parts = [];
let size = 0, frame = 0;
const written = (value) => {
  if (ArrayBuffer.isView(value)) {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice();
    parts.push(bytes);
    size += bytes.length;
    return { at: size - bytes.length, bytes: bytes.length };
  }
  if (Array.isArray(value)) return { numbers: value };
  return objects.has(value) ? { object: objects.get(value) } : value;
};
const asked = /^(is|check|get(?!UniformLocation|AttribLocation))/;
const recorded = (gl) => new Proxy(gl, {
  get(_, name) {
    const value = gl[name];
    if (typeof value !== "function") return value;
    return (...values) => {
      const found = value.apply(gl, values);
      if (asked.test(name)) return found;
      if (found !== null && typeof found === "object") objects.set(found, objects.size);
      calls.push([name, values.map(written), written(found ?? null)]);
      return found;
    };
  },
});
window.recording = async (text, size, camera, code, pose) => {
  const payload = await readPayload(bytesOf(text).buffer);
  const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
  const context = canvas.getContext.bind(canvas);
  canvas.getContext = (...kind) => recorded(context(...kind));
  const renderer = new Renderer(canvas, payload);
  const posed = new Deformer(payload).fromCode(code, pose);
  renderer.draw(posed, camera, [1, 1, 1]);
  frame = calls.length;
  renderer.draw(posed, camera, [1, 1, 1]);
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  window.bytes = textOf(whole);
  return JSON.stringify({ calls, frame });
};
"""


def twice(avatar: Avatar) -> Avatar:
    """The avatar with every Gaussian two times."""
    model, anchors = avatar.deformation, avatar.anchors
    settings = model.settings() | {"count": 2 * model.count}
    larger = build_deformation(model.name, settings)
    state = model.state_dict()
    blocks = state["weights"].split([model.count * size for _, size, _ in LAYOUT], 1)
    state["weights"] = torch.cat([block.repeat(1, 2) for block in blocks], 1)
    larger.load_state_dict(state)
    doubled = Anchors(
        *(np.concatenate([v, v]) for v in (anchors.face, anchors.barycentric, anchors.height))
    )
    return replace(avatar, anchors=doubled, deformation=larger)


def record(avatar: Avatar, track: Track) -> dict[str, Any]:
    """The calls as JSON, their bytes, and the library's image and alpha of the same frame."""
    meta, arrays = avatar_payload("benchmark", avatar, track)
    middle = track[len(track) // 2 : len(track) // 2 + 1].frames()
    code, rotation, translation = middle.code.vector, middle.rotation, middle.translation
    scale = SIZE / meta["camera"]["width"]
    camera = {
        "K": [value * scale for value in meta["camera"]["K"]], "width": SIZE, "height": SIZE,
        "R": rotation.flatten().tolist(), "t": translation.flatten().tolist(),
    }  # fmt: skip
    pose = {"R": camera["R"], "t": camera["t"]}
    text = base64.b64encode(write_payload(meta, arrays)).decode()
    values = ", ".join(map(json.dumps, (text, SIZE, camera, code[0].tolist(), pose)))
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        file = Path(folder) / "page.html"
        script = joined(_ENTRY, lambda name: page_text(f"{name}.js"))
        start = '<!doctype html><meta charset="utf-8">'
        file.write_text(f'{start}<script type="module">{script}</script>')
        page = browser.page(file.as_uri())
        calls = page.run(f"recording({values})", 300)
        content = base64.b64decode(page.run("bytes"))
    intrinsics = torch.tensor(camera["K"])
    color, alpha = avatar.render_codes(
        code, rotation, translation, intrinsics, SIZE, SIZE, torch.ones(3)
    )
    return {
        "calls": np.frombuffer(calls.encode(), np.uint8),
        "bytes": np.frombuffer(content, np.uint8),
        "image": color[0].numpy(), "alpha": alpha[0].numpy(), "count": avatar.count,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--avatar", type=Path, required=True, help="folder of a trained avatar")
    parser.add_argument("--out", type=Path, required=True, help=".npz to write")
    parser.add_argument("--twice", action="store_true", help="every Gaussian two times")
    args = parser.parse_args()
    avatar = load_avatar(model_folder(args.avatar), device="cpu")
    found = record(twice(avatar) if args.twice else avatar, load_track(args.avatar))
    np.savez_compressed(args.out, **found)
    print(f"{args.out}: {found['count']} Gaussians, {args.out.stat().st_size >> 10} KiB")


if __name__ == "__main__":
    main()
