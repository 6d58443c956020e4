"""A page with a small avatar, served on loopback, for tests in a browser."""

import json
import wave
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from aiohttp import web

from headsplat.drive.motion import Motion
from headsplat.heads.model import HeadModel
from headsplat.track import Track
from headsplat.web.container import write_payload
from headsplat.web.motions import motion_arrays
from headsplat.web.payload import avatar_payload
from tests.unit.driven import arkit_like, make_avatar, make_driven_subject, make_track

FOLDER = files("headsplat.web").joinpath("page")
HEAD = arkit_like()
TRACK = make_track(HEAD, count=50)
SUBJECT = make_driven_subject(HEAD, TRACK)
# In the browser: the page has drawn its avatar.
READY = "window.app && app.frame"


def clip_motion() -> Motion:
    """The clip of the avatar."""
    times = torch.arange(len(TRACK), dtype=torch.float64) / TRACK.fps
    return Motion(times, TRACK.codes(torch.float64).vector, *TRACK.poses(torch.float64))


def write_tone(path: Path, seconds: float = 2.0) -> Path:
    """A WAV file with a tone."""
    rate = 16_000
    times = np.arange(int(seconds * rate)) / rate
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((8000 * np.sin(2 * np.pi * 440 * times)).astype("<i2").tobytes())
    return path


def small_payload(sound: Path | None = None, head: HeadModel = HEAD, track: Track = TRACK) -> bytes:
    """The avatar with its clip as a motion, and perhaps a sound of the motion."""
    avatar = make_avatar(head, np.asarray(track.shape))
    meta, arrays = avatar_payload("anna", avatar, track)
    meta["motions"], motions = motion_arrays(avatar, track, sound, (), 60)
    return write_payload(meta, arrays | motions)


def served(avatar_file: bytes, **config) -> web.Application:
    """A server of the page at `/` and of its modules."""
    settings = json.dumps({"payload": "avatar.hswb"} | config)
    entry = FOLDER.joinpath("index.html").read_text()
    entry = entry.replace('id="config">{}', f'id="config">{settings}')
    entry = entry.replace("\nstart(JSON", "\nwindow.app = await start(JSON")

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=entry, content_type="text/html")

    async def avatar(_: web.Request) -> web.Response:
        return web.Response(body=avatar_file)

    application = web.Application()
    application.router.add_get("/", page)
    application.router.add_get("/avatar.hswb", avatar)
    application.router.add_static("/", str(FOLDER))
    return application


def shown(page, name):
    """Text of an element."""
    return page.run(f"document.getElementById('{name}').innerText.trim()")


def trouble(page):
    """The message of the page, one line."""
    page.until("!document.getElementById('problem').hidden")
    text = page.run("document.querySelector('#problem span').textContent")
    assert "\n" not in text
    return text


def settled(page):
    """Wait until what was asked for is drawn."""
    page.run("new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")
