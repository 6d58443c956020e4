"""The page's controls in a browser: keyboard, labels, widths, sliders, view and look."""

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

from tests.browser import needs_chromium
from tests.unit.driven import ARKIT_SHAPES, flame_like, make_track
from tests.unit.web_page import READY, SUBJECT, served, settled, shown, small_payload

pytestmark = needs_chromium
SMILE = ARKIT_SHAPES.index("mouthSmile_L")


@pytest.fixture(scope="module")
def address(browser):
    return browser.serve(served(small_payload()))


@pytest.fixture
def page(browser, address):
    opened = browser.page(address)
    opened.until(READY)
    yield opened
    opened.close()
    assert opened.problems == []


def opened_panels(page):
    page.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")


def test_it_starts_by_itself_and_asks_only_its_own_server(page, address):
    assert shown(page, "title") == "anna"
    assert page.run("document.title") == "anna"
    assert page.run("document.getElementById('waiting').hidden")
    assert all(request.startswith((address, "data:", "blob:")) for request in page.requests)


def test_every_control_has_a_name(page):
    opened_panels(page)
    tree = page.browser.wait(page.call("Accessibility.getFullAXTree"))["nodes"]
    roles = {"button", "slider", "checkbox", "combobox", "textbox", "image", "ColorWell"}
    found = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node.get("ignored") and node["role"]["value"] in roles
    ]
    assert [role for role, name in found if not name.strip()] == []
    assert {"button", "slider", "checkbox", "combobox", "textbox", "image"} <= dict(found).keys()
    assert ("slider", "mouthSmile") in {(role, name.split(" 0")[0]) for role, name in found}


def focus(page):
    return page.run("document.activeElement.id || document.activeElement.innerText.trim()")


def tab_to(page, name, most=40):
    for _ in range(most):
        page.press("Tab")
        if focus(page) == name:
            return
    raise AssertionError(f"the key Tab does not reach {name}")


def test_everything_by_keyboard(page):
    tab_to(page, "canvas")
    page.press("ArrowRight", 3)
    page.press("+")
    assert page.run("app.orbit.yaw > 0.1 && app.orbit.zoom > 1")
    page.press("0")
    assert page.run("app.orbit.yaw === 0 && app.orbit.zoom === 1")
    page.press(" ")
    assert page.run("app.transport.player.playing")
    page.press(" ")
    assert not page.run("app.transport.player.playing")
    tab_to(page, "play")
    page.press("Enter")
    assert page.run("app.transport.player.playing")
    tab_to(page, "Expression")
    page.press("Enter")
    tab_to(page, "pair")
    page.press(" ")
    page.press("Tab")
    before = page.run("document.activeElement.value")
    page.press("ArrowRight", 2)
    assert page.run("document.activeElement.type") == "range"
    assert page.run("document.activeElement.value") != before
    assert page.run("app.transport.source") == "sliders"
    assert not page.run("app.transport.player.playing")


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844), (844, 390), (320, 568)])
def test_nothing_is_cut_off_at_any_width(browser, address, width, height):
    page = browser.page(address, width, height)
    page.until(READY)
    opened_panels(page)
    wide = page.run(
        """[document.scrollingElement, ...document.querySelectorAll('#panels, #transport')]
        .map((e) => e.scrollWidth - e.clientWidth)"""
    )
    assert max(wide) <= 0
    out = page.run(
        """[...document.querySelectorAll('button, input, select, summary')]
        .filter((e) => e.checkVisibility() && e.type !== 'file')
        .filter((e) => { const r = e.getBoundingClientRect();
          return r.left < 0 || r.right > innerWidth || r.width < 12; })
        .map((e) => e.id)"""
    )
    assert out == []
    stage = page.run("document.getElementById('stage').getBoundingClientRect().height")
    assert stage > 0.45 * height
    assert page.problems == []


CONTRAST = """
(() => {
  const light = (color) => {
    const parts = color.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
      .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const value = (name) => {
    const probe = document.createElement('i');
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const color = getComputedStyle(probe).color;
    probe.remove();
    return light(color);
  };
  const pairs = [['--ink', '--panel'], ['--soft', '--panel'], ['--ink', '--page'],
    ['--alert', '--panel'], ['--ink', '--control'], ['--on-accent', '--accent']];
  return pairs.map(([a, b]) => [value(a), value(b)].sort((x, y) => y - x))
    .map(([a, b]) => (a + 0.05) / (b + 0.05));
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(browser, address, scheme):
    page = browser.page(address, prefers_color_scheme=scheme)
    page.until(READY)
    assert min(page.run(CONTRAST)) >= 4.5
    page_color = page.run("getComputedStyle(document.body).backgroundColor")
    assert (int(page_color[4:].split(",")[0]) < 100) == (scheme == "dark")


def test_sliders_move_the_face_within_the_seen_range(page):
    page.run("document.getElementById('face').open = true")
    highest = float(SUBJECT.limits.codes[1, SMILE].clamp(0, 1))
    page.run(
        """(() => { const slider = app.sliders.rows.get('MouthSmileLeft').input;
        slider.value = 9; slider.dispatchEvent(new Event('input')); })()"""
    )
    settled(page)
    code = page.run("Array.from(app.frame.code)")
    other = ARKIT_SHAPES.index("mouthSmile_R")
    right = float(SUBJECT.limits.codes[1, other].clamp(0, 1))
    assert code[SMILE] == pytest.approx(highest, abs=1e-6)
    # Both sides move, each within its own range.
    assert code[other] == pytest.approx(min(highest, right), abs=1e-6)
    page.run("document.getElementById('relax').click()")
    settled(page)
    assert page.run(f"app.frame.code[{SMILE}]") < highest


def test_heads_without_arkits_names_have_numbered_sliders(browser):
    head = flame_like()
    address = browser.serve(served(small_payload(head=head, track=make_track(head))))
    page = browser.page(address)
    page.until(READY)
    keys = page.run("[...app.sliders.rows.keys()]")
    assert keys[:10] == [f"Expression {k}" for k in range(1, 11)]
    assert {"Jaw open", "Left lid", "Look left", "Head yaw"} < set(keys)
    assert page.run("document.getElementById('webcam').hidden")
    assert page.run("[...document.getElementById('source').options].map((o) => o.value)") == [
        "motion:0",
        "sliders",
    ]
    page.run(
        """(() => { const slider = app.sliders.rows.get('Jaw open').input;
        slider.value = slider.max; slider.dispatchEvent(new Event('input')); })()"""
    )
    settled(page)
    neutral = page.run("app.subject.neutral")
    code = page.run("Array.from(app.frame.code)")
    np.testing.assert_allclose(code[10:100], neutral[10:100], atol=1e-6)
    assert not np.allclose(code[100:106], neutral[100:106], atol=1e-3)
    assert page.problems == []


def test_the_view_turns_softly_and_returns(page):
    center = "(() => { const r = document.getElementById('canvas').getBoundingClientRect();"
    x, y = page.run(f"{center} return [r.x + r.width / 2, r.y + r.height / 2]; }})()")
    pose = page.run("Array.from(app.frame.pose.R)")
    before = page.run("Array.from(app.camera.R)")
    for _ in range(4):
        page.mouse("mousePressed", x, y)
        page.mouse("mouseMoved", x + 300, y, buttons=1)
        page.mouse("mouseReleased", x + 300, y)
    settled(page)
    after = page.run("Array.from(app.camera.R)")
    assert page.run("Array.from(app.frame.pose.R)") == pose
    turn = np.array(after).reshape(3, 3) @ np.array(before).reshape(3, 3).T
    angle = np.arccos((np.trace(turn) - 1) / 2)
    seen = float(SUBJECT.limits.turns[1, 1])
    assert 0.1 < angle < 0.45 * seen + 0.09
    page.run("document.getElementById('beyond').click()")
    page.run("app.orbit.turn(9, 0)")
    settled(page)
    wide = np.array(page.run("Array.from(app.camera.R)")).reshape(3, 3)
    wide = np.arccos((np.trace(wide @ np.array(before).reshape(3, 3).T) - 1) / 2)
    assert angle + 0.1 < wide < seen + 0.31
    page.run("document.getElementById('beyond').click()")
    # What faces the camera moves to the right with the pointer.
    assert (turn @ [0, 0, -1])[0] > 0
    page.mouse("mouseWheel", x, y, deltaX=0, deltaY=-200)
    settled(page)
    assert page.run("app.orbit.zoom") > 1
    for count in (1, 2):
        page.mouse("mousePressed", x, y, clickCount=count)
        page.mouse("mouseReleased", x, y, clickCount=count)
    settled(page)
    np.testing.assert_allclose(page.run("Array.from(app.camera.R)"), before, atol=1e-9)


def test_a_later_avatar_takes_the_place_of_the_first(page):
    page.run("app.orbit.turn(0.2, 0)")
    page.run("(async () => app.swap(await (await fetch('/avatar.hswb')).arrayBuffer()))()")
    settled(page)
    assert page.run("app.orbit.yaw") == pytest.approx(0.2)
    assert page.run("app.sliders.rows.size") > 5


def canvas(page):
    """(H, W, 3) pixels of the avatar, without what lies over it."""
    page.run("document.getElementById('tools').hidden = true")
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    x, y, width, height = page.run(
        """(() => { const r = document.getElementById('canvas').getBoundingClientRect();
        return [r.x, r.y, r.width, r.height].map(Math.round); })()"""
    )
    return np.asarray(image.crop((x, y + 60, x + width, y + height))).astype(int)


def test_a_lost_context_is_made_again(page):
    settled(page)
    before = canvas(page)
    assert np.abs(before - before[0, 0]).max() > 100  # something is drawn
    page.run(
        """(() => { window.lost = app.canvas.getContext('webgl2')
        .getExtension('WEBGL_lose_context'); lost.loseContext(); })()"""
    )
    page.until("app.renderer === null")
    assert shown(page, "status").startswith("The graphics were reset")
    page.run("lost.restoreContext()")
    page.until("app.renderer !== null")
    settled(page)
    assert shown(page, "status") == ""
    np.testing.assert_allclose(canvas(page), before, atol=2)
    # The browser itself warns of the loss.
    assert all("CONTEXT_LOST" in problem for problem in page.problems)
    page.problems.clear()


def test_a_saved_image_has_the_avatar_and_no_background(page, tmp_path):
    page.browser.wait(
        page.browser.call(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path)
        )
    )
    page.run("document.getElementById('look').open = true")
    page.run("document.getElementById('clear').click()")
    settled(page)
    page.run("document.getElementById('shot').click()")
    path = tmp_path / "anna.png"
    for _ in range(200):
        if path.exists():
            break
        page.browser.wait(asyncio.sleep(0.05))
    image = np.asarray(Image.open(path))
    assert image.shape[2] == 4
    assert image[2, 2, 3] == 0
    assert image[..., 3].max() > 200
    assert shown(page, "status") == "Image saved"


def test_the_background_has_the_chosen_color(page):
    page.run(
        """(() => { const color = document.getElementById('color');
        color.value = '#204080'; color.dispatchEvent(new Event('input')); })()"""
    )
    settled(page)
    np.testing.assert_allclose(canvas(page)[1, 1], [32, 64, 128], atol=1)
    # Text over it stays readable.
    assert page.run("getComputedStyle(document.getElementById('title')).color") == (
        "rgb(242, 243, 243)"
    )


def test_quality_and_speed(page):
    page.run(
        """(() => { const quality = document.getElementById('quality');
        quality.value = 'low'; quality.dispatchEvent(new Event('change')); })()"""
    )
    settled(page)
    assert page.run("app.canvas.width * app.canvas.height") <= 0.26e6
    page.run("document.getElementById('fps').click()")
    page.run("document.getElementById('play').click()")
    page.until("/^[\\d.]+ FPS · [\\d.]+ ms$/.test(document.getElementById('speed').textContent)")


def test_slow_frames_get_fewer_pixels_as_long_as_that_helps(page):
    pixels = page.run(
        """(() => {
        const { look } = app, found = [];
        let now = 0;
        // Frames that take a fixed time, and time for each pixel.
        for (let k = 0; k < 200; k++) {
          look.measure(now += 0.01 + look.pixels * 2e-8, 5, 'played');
          found.push(look.pixels);
        }
        return [found[5], found.at(-1)];
        })()"""
    )
    assert pixels[0] == 1.2e6
    assert 0.2e6 < pixels[1] < 0.6e6
    pixels = page.run(
        """(() => {
        const { look } = app;
        document.getElementById('quality').dispatchEvent(new Event('change'));
        for (let k = 0, now = 0; k < 200; k++) look.measure(now += 0.033, 5, 'played');
        return look.pixels;
        })()"""
    )
    assert pixels == 1.2e6  # a screen of 30 frames a second


def test_an_address_that_is_refused_leaves_what_is_shown(page):
    page.run(
        """(() => { document.getElementById('address').value = 'http://127.0.0.1/?token=secret';
        document.getElementById('connect').requestSubmit(); })()"""
    )
    page.until("!document.getElementById('problem').hidden")
    assert "secret" not in page.run("document.querySelector('#problem span').textContent")
    assert page.run("app.transport.value") == "motion:0"
    page.run("document.querySelector('#problem button').click()")
