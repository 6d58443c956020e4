"""The page's renderer in a browser, without the page: payloads in, Gaussians and images out."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from headsplat.web.modules import joined
from headsplat.web.page_file import page_text
from tests.browser import Browser, Page

_ENTRY = """
import { PageError, readPayload } from "./payload.js";
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
const canvas = document.querySelector("canvas");
let deformer, renderer;

window.refusal = async (text, most) => {
  try {
    new Deformer(await readPayload(bytesOf(text).buffer, most));
  } catch (error) {
    return error instanceof PageError ? error.message : `not for users: ${error.stack}`;
  }
  return "";
};
window.load = async (text, size) => {
  renderer?.dispose();
  const payload = await readPayload(bytesOf(text).buffer);
  canvas.width = canvas.height = size;
  deformer = new Deformer(payload);
  renderer = new Renderer(canvas, payload);
  window.rebuild = () => { renderer = new Renderer(canvas, payload); };
};
window.draw = (state, camera, background) => {
  const frame = deformer.fromCode(state.code, state.pose);
  renderer.draw(frame, camera, background);
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  return textOf(new Uint8Array(data.buffer));
};
window.means = () => textOf(new Uint8Array(deformer._frame.means.buffer));
window.format = () => renderer._format;
// The four textures of splats, as they are drawn.
window.splats = () => {
  const gl = renderer._gl;
  const target = gl.createFramebuffer();
  gl.bindFramebuffer(gl.FRAMEBUFFER, target);
  return renderer._splats.map((texture) => {
    const values = new Float32Array(4 * texture.width * texture.height);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture.handle, 0);
    gl.readPixels(0, 0, texture.width, texture.height, gl.RGBA, gl.FLOAT, values);
    return textOf(new Uint8Array(values.buffer));
  });
};
"""


def drawing_page(
    browser: Browser, folder: Path, changed: Callable[[str], str] = lambda text: text
) -> Page:
    """A page with the renderer's modules, whose text `changed` may change."""
    script = joined(_ENTRY, lambda name: changed(page_text(f"{name}.js")))
    file = folder / "drawing.html"
    file.write_text(
        '<!doctype html><meta charset="utf-8"><canvas></canvas>'
        f'<script type="module">{script}</script>'
    )
    return browser.page(file.as_uri())


def text_of(payload: bytes) -> str:
    """A payload as an argument of the page's functions."""
    return json.dumps(base64.b64encode(payload).decode())


def numbers(text: str, kind: str = "<f4") -> np.ndarray:
    """Numbers that the page returned."""
    return np.frombuffer(base64.b64decode(text), kind)


class Drawing:
    """One payload in a page.

    Args:
        page: of `drawing_page`.
        payload: the avatar's file.
        meta: its JSON.
    """

    def __init__(self, page: Page, payload: bytes, meta: dict) -> None:
        self.page, self.size = page, meta["camera"]["width"]
        self.intrinsics = meta["camera"]["K"]
        page.run(f"load({text_of(payload)}, {self.size})")

    def image(self, frame: tuple[torch.Tensor, ...]) -> np.ndarray:
        """(H, W, 3) in 0..1 on white of a code, rotation, translation and trunk."""
        code, rotation, translation, trunk = (value.flatten().tolist() for value in frame)
        pose = {"R": rotation, "t": translation, "trunk": trunk}
        camera = {"K": self.intrinsics, "width": self.size, "height": self.size} | pose
        state = json.dumps({"code": code, "pose": pose})
        raw = numbers(self.page.run(f"draw({state}, {json.dumps(camera)}, [1, 1, 1])"), np.uint8)
        return raw.reshape(self.size, self.size, 4)[..., :3] / 255


def psnr(image: np.ndarray, wanted: np.ndarray, alpha: np.ndarray) -> tuple[float, float]:
    """PSNR in dB where alpha is above one half, and the largest difference anywhere, of 255."""
    error = image - wanted
    return -10 * np.log10(np.square(error[alpha > 0.5]).mean()), 255 * np.abs(error).max()
