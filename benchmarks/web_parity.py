"""Compare the web page with the library in chromium: images, Gaussians, codes, sizes.

    python benchmarks/web_parity.py results/demo/avatar [AVATAR ...]

Images: 8 frames at 256 px, drawn by SwiftShader, half of them at the limits of the codes; the worst
frame counts. Gaussians: their centers from a code, against the library with the page's rounded
numbers. Rows of ARKit: codes and poses against the library's reader of such tables, on heads that
know ARKit's names. `flashavatar`: its reduced network against the exact one, on frames that were
not used for the reduction. Size: of the page with the clip's track, without sound.
"""

import argparse
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

from benchmarks.rasterizer import machine  # noqa: E402
from headsplat.avatar import Avatar  # noqa: E402
from headsplat.avatar_files import load_avatar, model_folder  # noqa: E402
from headsplat.drive.arkit_motion import read_arkit, require_arkit_head  # noqa: E402
from headsplat.drive.kinds import ABSOLUTE, MotionOptions  # noqa: E402
from headsplat.drive.subject import DrivenSubject  # noqa: E402
from headsplat.formats.arkit.names import BLENDSHAPES, ROTATIONS  # noqa: E402
from headsplat.gaussians.anchors import Anchors  # noqa: E402
from headsplat.runtime.errors import UserError  # noqa: E402
from headsplat.track import Track, load_track  # noqa: E402
from headsplat.web.bake import bake  # noqa: E402
from headsplat.web.baked_arrays import LEAST, _held_out, measured  # noqa: E402
from headsplat.web.container import write_payload  # noqa: E402
from headsplat.web.gaussian_arrays import BLOCK, SIZES  # noqa: E402
from headsplat.web.modules import joined  # noqa: E402
from headsplat.web.motions import motion_arrays  # noqa: E402
from headsplat.web.options import FP16, INT8, WebOptions  # noqa: E402
from headsplat.web.page_file import html_file, page_text  # noqa: E402
from headsplat.web.payload import avatar_payload  # noqa: E402
from tests.browser import Browser, Page  # noqa: E402
from tests.unit.live_link import write_table  # noqa: E402
from tests.unit.web_avatar import frames_with_extremes  # noqa: E402
from tests.unit.web_drawing import Drawing, drawing_page, numbers, psnr, text_of  # noqa: E402

SIZE, FRAMES, ROWS = 256, 8, 200
LIMITS = {INT8: (50, 32), FP16: (55, 4)}  # at least dB of the head, at most of 255
SMALL, LARGE = 3.5, 8.0  # MB, of pages with up to `FEW` Gaussians and of others
FEW, HELD_OUT = 10_000, 45
_ARKIT = """
import { readPayload } from "./payload.js";
import { arkitToCode, subjectOf } from "./driving.js";
const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
window.mapped = async (text, rows, angles) => {
  const subject = subjectOf(await readPayload(bytesOf(text).buffer));
  return rows.map((row, k) => {
    const { code, pose } = arkitToCode(subject, row, angles[k]);
    return [...code, ...pose.R, ...pose.t];
  });
};
"""


def row(what: str, value: float, unit: str, target: float | None = None, best: str = "") -> dict:
    """One row of the table."""
    made = {"what": what, "value": value, "unit": unit, "target": target}
    return made | ({"best": best} if best else {}) | {"machine": f"{machine()}, chromium"}


def small(track: Track) -> Track:
    """The track in a camera of `SIZE` pixels a side."""
    K = track.K * np.array([[SIZE / track.width], [SIZE / track.height], [1]])
    return replace(track, K=K, img_size=np.array([SIZE, SIZE]))


def as_read(avatar: Avatar, arrays: dict[str, np.ndarray]) -> Avatar:
    """The avatar with the numbers that a page reads in place of its own."""
    count, model = len(avatar.anchors), avatar.deformation
    rows = np.concatenate([arrays["gaussians/offsets"], arrays["gaussians/bases"]], 1).astype(float)
    scales = np.repeat(arrays["gaussians/scales"], BLOCK, 1)[:, :count].astype(float)
    rows *= np.concatenate([np.repeat(scales[..., a], n, 1) for a, n in enumerate(SIZES)], 1)
    weights = torch.from_numpy(np.concatenate([arrays["gaussians/base"][None], rows]))
    with torch.no_grad():
        model.weights.copy_(weights / model.units)
    places = (arrays["anchors/places"] * arrays["anchors/place_scale"]).astype(np.float32)
    corners = np.concatenate([1 - places[:, :2].sum(1, keepdims=True), places[:, :2]], 1)
    return replace(avatar, anchors=Anchors(avatar.anchors.face, corners, places[:, 2].copy()))


def images(page: Page, avatar: Avatar, track: Track, precision: str, what: str) -> list[dict]:
    """Rows of the images at one precision, and of the centers of Gaussians."""
    meta, arrays = avatar_payload("benchmark", avatar, track, precision)
    drawing = Drawing(page, write_payload(meta, arrays), meta)
    frames = frames_with_extremes(avatar, track, FRAMES)
    camera = torch.tensor(meta["camera"]["K"]), track.width, track.height, torch.ones(3)
    color, alpha = avatar.render_codes(*frames[:3], *camera, trunk=frames[3])
    found, away, read = [], 0.0, None
    if avatar.deformation.name == "blendshapes" and avatar.torso is None:
        kept = avatar.deformation.weights.detach().clone()
        read = as_read(avatar, arrays).gaussians(*frames).means.detach().numpy()
        with torch.no_grad():
            avatar.deformation.weights.copy_(kept)
    for k in range(FRAMES):
        drawn = drawing.image([None if value is None else value[k] for value in frames])
        found.append(psnr(drawn, color[k].clamp(0, 1).numpy(), alpha[k].numpy()))
        if read is not None:
            means = numbers(page.run("means()")).reshape(-1, 3)
            away = max(away, float(np.abs(means - read[k]).max()))
    quality, worst = min(q for q, _ in found), max(w for _, w in found)
    least, most = LIMITS[precision]
    rows = [
        row(f"{what}, {precision}: PSNR of the head", round(float(quality), 1), "dB", least),
        row(f"{what}, {precision}: worst level", round(float(worst), 1), "of 255", most),
    ]
    if read is not None:
        rows.append(row(f"{what}, {precision}: centers of Gaussians", f"{away:.1e}", "m", "1e-5"))
    return rows


def arkit_row(browser: Browser, folder: Path, avatar: Avatar, track: Track, what: str) -> dict:
    """The row of codes from ARKit's coefficients."""
    rng = np.random.default_rng(0)
    weights, angles = rng.uniform(-0.2, 1.2, (ROWS, 52)), rng.uniform(-0.6, 0.6, (ROWS, 3))
    table = [
        dict(zip((*BLENDSHAPES, *ROTATIONS[:3]), (*w, *a), strict=True))
        for w, a in zip(weights.tolist(), angles.tolist(), strict=True)
    ]
    subject = DrivenSubject.from_track(
        "the clip", avatar.head, avatar.shape, track, avatar.deformation.code_limit
    )
    file = write_table(folder / "take.csv", table)
    motion = read_arkit(file, subject, MotionOptions(ABSOLUTE, face=ABSOLUTE))
    parts = motion.condition, motion.rotation.flatten(1), motion.translation
    wanted = torch.cat([part.double() for part in parts], 1).numpy()
    html = folder / "arkit.html"
    script = joined(_ARKIT, lambda name: page_text(f"{name}.js"))
    html.write_text(f'<!doctype html><meta charset="utf-8"><script type="module">{script}</script>')
    page = browser.page(html.as_uri())
    payload = text_of(write_payload(*avatar_payload("benchmark", avatar, track)))
    given = f"{payload}, {json.dumps(weights.tolist())}, {json.dumps(angles.tolist())}"
    found = np.array(page.run(f"mapped({given})", 120))
    page.close()
    return row(f"{what}: ARKit row to code", f"{np.abs(found - wanted).max():.1e}", "", "1e-6")


def reduced_row(avatar: Avatar, track: Track, what: str) -> dict[str, Any]:
    """The row of a network that is reduced to bases."""
    subject = DrivenSubject.from_track(
        "the clip", avatar.head, avatar.shape, track, avatar.deformation.code_limit
    )
    held_out, codes = _held_out(len(track)), track.codes().vector
    count = WebOptions.bases
    baked = bake(avatar.deformation, codes[~held_out], count, subject.limits.codes.float())
    rows = np.flatnonzero(held_out.numpy())
    quality = measured(avatar, baked, track[rows[:: max(1, len(rows) // 16)]])
    name = f"{what}: network reduced to {len(baked.bases)} bases (below {LEAST:g} is refused)"
    return row(name, round(quality, 1), "dB", HELD_OUT)


def rows_of(browser: Browser, folder: Path, path: Path) -> list[dict[str, Any]]:
    """All rows of one avatar."""
    avatar, track = load_avatar(model_folder(path), device="cpu"), load_track(path)
    count, model = f"{avatar.count:,} Gaussians", avatar.deformation.name
    body = "" if avatar.torso is None else " with torso"
    what = f"{model}{body}, {count} on {avatar.head.name}"
    found = []
    if model == "flashavatar":
        found.append(reduced_row(avatar, track, what))
    else:
        page = drawing_page(browser, folder)
        for precision in LIMITS:
            found += images(page, avatar, small(track), precision, what)
        page.close()
    try:
        require_arkit_head("", avatar.head)
        found.append(arkit_row(browser, folder, avatar, track, what))
    except UserError:
        pass  # its shapes have no names of ARKit's
    meta, arrays = avatar_payload("benchmark", avatar, track)
    entries, moving = motion_arrays(avatar, track, None, (), WebOptions.seconds)
    packed = write_payload(meta | {"motions": entries}, arrays | moving)
    size = len(html_file("benchmark", packed, {}).encode()) / 1e6
    goal = SMALL if avatar.count <= FEW else LARGE
    return [*found, row(f"{what}: page without sound", round(size, 2), "MB", goal)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("avatars", type=Path, nargs="+", help="folders of trained avatars")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        for path in args.avatars:
            rows += rows_of(browser, Path(folder), path)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "web_parity.json").write_text(json.dumps(rows, indent=1) + "\n")
    for item in rows:
        print(f"{item['what']:80} {item['value']} {item['unit']}  target {item['target']}")


if __name__ == "__main__":
    main()
