"""The page's renderer in chromium against the library: Gaussians, images, and what must differ."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from headsplat.avatar import Avatar
from headsplat.gaussians.anchors import Anchors
from headsplat.gaussians.deform.codes import camera_center
from headsplat.web.bake import baked_gaussians
from headsplat.web.container import read_payload, write_payload
from headsplat.web.page_file import page_text
from headsplat.web.payload import avatar_payload
from tests.browser import Browser, needs_chromium
from tests.unit.web_avatar import COUNT, frames_with_extremes, web_avatar, web_head, web_track
from tests.unit.web_drawing import Drawing, drawing_page, numbers, psnr

pytestmark = needs_chromium
HEAD = web_head()
TRACK = web_track(HEAD)
COLUMNS = 512
LIMITS = {"int8": (50, 32), "fp16": (55, 4)}  # at least dB of the head, at most of 255


@pytest.fixture(scope="module")
def browser():
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    return drawing_page(browser, tmp_path_factory.mktemp("drawing"))


@pytest.fixture(scope="module", params=["blendshapes", "flashavatar"])
def avatar(request):
    return web_avatar(request.param, HEAD)


@pytest.fixture(scope="module")
def payload(avatar):
    """JSON and file; a network is fitted in few steps, because any fit must be drawn as it is."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"_CODES": 200, "_STEPS": 20, "_POINTS": 64}.items():
            patch.setattr(f"headsplat.web.bake.{name}", value)
        patch.setattr("headsplat.web.baked_arrays.LEAST", 0)
        meta, arrays = avatar_payload("anna", avatar, TRACK, bases=8)
    return meta, write_payload(meta, arrays)


def decoded(values: dict[str, np.ndarray], name: str, sizes: tuple[int, ...]) -> torch.Tensor:
    """(1 + K, P N) base and bases of a payload, as numbers."""
    count = len(values[f"{name}/base"]) // sum(sizes)
    bases = np.concatenate([values[f"{name}/offsets"], values[f"{name}/bases"]], 1).astype(float)
    scales = np.repeat(values[f"{name}/scales"], COLUMNS, 1)[:, :count].astype(float)
    each = [np.repeat(scales[..., a], size, 1) for a, size in enumerate(sizes)]
    bases *= np.concatenate(each, 1)
    return torch.from_numpy(np.concatenate([values[f"{name}/base"][None], bases]))


def library_gaussians(avatar: Avatar, arrays: dict, frames: tuple[torch.Tensor, ...]):
    """The library's Gaussians, with the payload's rounded numbers in place of the avatar's."""
    codes, rotation, translation, trunk = frames
    places = (arrays["anchors/places"] * arrays["anchors/place_scale"]).astype(np.float32)
    corners = np.concatenate([1 - places[:, :2].sum(1, keepdims=True), places[:, :2]], 1)
    anchors = Anchors(avatar.anchors.face, corners, places[:, 2].copy())
    near = replace(avatar, anchors=anchors)
    torso = avatar.torso
    with torch.no_grad():
        torso.weights.copy_(decoded(arrays, "torso", (3, 4, 3, 1, 3)) / torso.units)
        if avatar.deformation.name == "blendshapes":
            model = avatar.deformation
            model.weights.copy_(decoded(arrays, "gaussians", (3, 4, 3, 1, 3)) / model.units)
            return near.gaussians(codes, rotation, translation, trunk)
        positions, _ = near.place(near.vertices(codes, trunk))
        values = decoded(arrays, "gaussians", (3, 4, 3)).float()
        part = {key.removeprefix("network/"): torch.from_numpy(np.array(value))
                for key, value in arrays.items() if key.startswith("network/")}  # fmt: skip
        code = (codes - part["mean"]) / part["scale"]
        hidden = torch.relu(code @ part["hidden"].T + part["hidden_bias"])
        mixed = code @ part["linear"].T + hidden @ part["output"].T + part["output_bias"]
        rows = (values[0] + mixed @ values[1:]).split([3 * COUNT, 4 * COUNT, 3 * COUNT], 1)
        ten = torch.cat([row.unflatten(1, (COUNT, -1)) for row in rows], -1)
        center = camera_center(rotation, translation)
        return baked_gaussians(near, ten, positions, center).joined(torso(rotation, trunk))


def test_codes_give_the_librarys_gaussians_and_images(page, avatar, payload):
    kept = [value.clone() for value in avatar.deformation.state_dict().values()]
    kept += [value.clone() for value in avatar.torso.state_dict().values()]
    meta, packed = payload
    frames = frames_with_extremes(avatar, TRACK, 4)
    try:
        wanted = library_gaussians(avatar, read_payload(packed)[1], frames)
    finally:
        now = [*avatar.deformation.state_dict().values(), *avatar.torso.state_dict().values()]
        with torch.no_grad():
            for value, before in zip(now, kept, strict=True):
                value.copy_(before)
    drawing = Drawing(page, packed, meta)
    fx, fy, cx, cy = meta["camera"]["K"]
    rows = np.r_[:COUNT, -(-COUNT // COLUMNS) * COLUMNS + np.arange(avatar.torso.count)]
    camera = frames[1], frames[2], TRACK.intrinsics().expand(4, 4), TRACK.width, TRACK.height
    with torch.no_grad():
        colors, alphas = avatar.rasterize(wanted, *camera, torch.ones(3))
    for row in range(4):
        image = drawing.image(tuple(value[row] for value in frames))
        quality, worst = psnr(image, colors[row].clamp(0, 1).numpy(), alphas[row].numpy())
        assert quality >= LIMITS["fp16"][0]
        assert worst <= LIMITS["fp16"][1]
        mean = wanted.means[row].numpy()
        assert np.abs(numbers(page.run("means()")).reshape(-1, 3) - mean).max() < 1e-5
        # What the GPU made of them, back in the camera's frame.
        shape, more, _, color = (
            numbers(text).reshape(-1, 4)[rows] for text in page.run("splats()")
        )
        seen = mean @ frames[1][row].numpy().T + frames[2][row].numpy()
        x = (shape[:, 0] + 0.5 - cx) / fx * more[:, 2]
        y = (shape[:, 1] + 0.5 - cy) / fy * more[:, 2]
        assert np.abs(np.stack([x, y, more[:, 2]], 1) - seen).max() < 1e-5
        assert np.abs(more[:, 1] - wanted.opacities[row].numpy()).max() < 1e-3
        assert np.abs(color[:, :3] - wanted.colors[row].numpy()).max() < 5e-3


def pictures(avatar: Avatar, frames: tuple[torch.Tensor, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The library's images and alpha of frames, those of flashavatar with its network."""
    codes, rotation, translation, trunk = frames
    camera = TRACK.intrinsics(), TRACK.width, TRACK.height, torch.ones(3)
    color, alpha = avatar.render_codes(codes, rotation, translation, *camera, trunk=trunk)
    return color.numpy(), alpha.numpy()


@pytest.fixture(scope="module")
def reference():
    """Frames with extremes of the blendshapes avatar, and its images."""
    avatar = web_avatar("blendshapes", HEAD)
    frames = frames_with_extremes(avatar, TRACK)
    return avatar, frames, pictures(avatar, frames)


@pytest.mark.parametrize("precision", LIMITS)
def test_images_are_the_rasterizers(page, reference, precision):
    avatar, frames, (wanted, alpha) = reference
    meta, arrays = avatar_payload("anna", avatar, TRACK, precision)
    drawing = Drawing(page, write_payload(meta, arrays), meta)
    least, most = LIMITS[precision]
    for row in range(len(wanted)):
        image = drawing.image(tuple(value[row] for value in frames))
        quality, worst = psnr(image, wanted[row], alpha[row])
        assert quality >= least
        assert worst <= most
    assert not page.problems


# What is broken on purpose, and the text that is in its place.
BROKEN = {
    "order": ("return ids.subarray(0, count);", "return ids.subarray(0, count).reverse();"),
    "dilation": ("const float BLUR = 0.3,", "const float BLUR = 0.1,"),
    "cutoff": ("if (alpha < 1.0 / 255.0) discard;", "if (alpha < 0.06) discard;"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_an_image_formation_that_is_broken_is_noticed(browser, tmp_path, reference, what):
    right, wrong = BROKEN[what]
    texts = [page_text(f"{name}.js") for name in ("order", "shaders", "placing_shaders")]
    assert sum(text.count(right) for text in texts) == 1
    page = drawing_page(browser, tmp_path, lambda text: text.replace(right, wrong))
    avatar, frames, (wanted, alpha) = reference
    meta, arrays = avatar_payload("anna", avatar, TRACK)
    image = Drawing(page, write_payload(meta, arrays), meta).image([value[0] for value in frames])
    quality, worst = psnr(image, wanted[0], alpha[0])
    least, most = LIMITS["int8"]
    assert quality < least or worst > most
    page.close()


def test_browsers_without_float_targets_draw_the_same(browser, tmp_path, reference):
    avatar, frames, (wanted, alpha) = reference

    def without(text: str) -> str:
        return text.replace('gl.getExtension("EXT_color_buffer_float") !== null', "false")

    page = drawing_page(browser, tmp_path, without)
    meta, arrays = avatar_payload("anna", avatar, TRACK)
    drawing = Drawing(page, write_payload(meta, arrays), meta)
    image = drawing.image([value[0] for value in frames])
    assert page.run("format()") == "RGBA16F"
    assert psnr(image, wanted[0], alpha[0])[0] >= LIMITS["int8"][0]
    assert not page.problems
    page.close()


def test_a_renderer_draws_again_after_a_lost_context(page, reference):
    avatar, frames, _ = reference
    meta, arrays = avatar_payload("anna", avatar, TRACK)
    drawing = Drawing(page, write_payload(meta, arrays), meta)
    frame = [value[0] for value in frames]
    before = drawing.image(frame)
    page.run(
        """new Promise((done) => {
          const canvas = document.querySelector("canvas");
          const lose = canvas.getContext("webgl2").getExtension("WEBGL_lose_context");
          canvas.addEventListener("webglcontextlost", (event) => {
            event.preventDefault();
            setTimeout(() => lose.restoreContext());
          }, { once: true });
          canvas.addEventListener("webglcontextrestored", () => { rebuild(); done(); },
            { once: true });
          lose.loseContext();
        })"""
    )
    assert np.abs(drawing.image(frame) - before).max() <= 1 / 255
