"""A page with a small avatar, served on loopback, for tests in a browser."""

import json
from importlib.resources import files

import numpy as np
import torch
from aiohttp import web

from headsplat.drive.motion import Motion
from headsplat.frame_code import FrameCode
from headsplat.rotations import matrix_from_6d, quaternion_from_matrix
from headsplat.web.container import write_payload
from headsplat.web.payload import avatar_payload
from tests.unit.driven import arkit_like, make_avatar, make_driven_subject, make_track

FOLDER = files("headsplat.web").joinpath("page")
HEAD = arkit_like()
TRACK = make_track(HEAD, count=50)
SUBJECT = make_driven_subject(HEAD, TRACK)


def motion_arrays(number: int, motion: Motion) -> dict[str, np.ndarray]:
    """Arrays of a motion that is sampled evenly."""
    code = FrameCode(motion.condition)
    values = {
        "exp": code.exp, "joints": quaternion_from_matrix(matrix_from_6d(code.joints)),
        "lids": code.eyelids, "rotation": quaternion_from_matrix(motion.rotation),
        "translation": motion.translation,
    }  # fmt: skip
    return {
        f"motions/{number}/{name}": value.numpy().astype(np.float32)
        for name, value in values.items()
    }


def clip_motion() -> Motion:
    """The clip of the avatar."""
    times = torch.arange(len(TRACK), dtype=torch.float64) / TRACK.fps
    return Motion(times, TRACK.codes(torch.float64).vector, *TRACK.poses(torch.float64))


def small_payload(sound: bytes | None = None, head=HEAD, track=TRACK) -> bytes:
    """The avatar with its clip as a motion, and perhaps a sound of the motion."""
    meta, arrays = avatar_payload("anna", make_avatar(head, np.asarray(track.shape)), track)
    if head is HEAD:
        entry = {"name": "The clip", "count": len(track), "fps": track.fps, "sound": bool(sound)}
        meta["motions"] = [entry]
        arrays |= motion_arrays(0, clip_motion())
    if sound:
        arrays["motions/0/sound"] = np.frombuffer(sound, np.uint8)
    return write_payload(meta, arrays)


def served(payload: bytes, **config) -> web.Application:
    """A server of the page at `/` and of its modules."""
    settings = json.dumps({"payload": "avatar.hswb"} | config)
    entry = FOLDER.joinpath("index.html").read_text()
    entry = entry.replace('id="config">{}', f'id="config">{settings}')
    entry = entry.replace("\nstart(JSON", "\nwindow.app = await start(JSON")

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=entry, content_type="text/html")

    async def avatar(_: web.Request) -> web.Response:
        return web.Response(body=payload)

    application = web.Application()
    application.router.add_get("/", page)
    application.router.add_get("/avatar.hswb", avatar)
    application.router.add_static("/", str(FOLDER))
    return application
