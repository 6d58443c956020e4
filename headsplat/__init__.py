"""Animatable 3D Gaussian head avatars from talking-head videos.

    import headsplat

    avatar = headsplat.load_avatar("results/demo/avatar")
    track = headsplat.load_track("results/demo")
    image = avatar.render(track[0])
    avatar.render_video(track, "out.mp4", audio="speech.wav")

Names are loaded when they are first used: the import itself is fast and loads no PyTorch.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headsplat.avatar import Avatar
    from headsplat.avatar_files import load_avatar
    from headsplat.frame_code import FrameCode
    from headsplat.heads.model import HeadModel, load_head
    from headsplat.pipeline import drive_avatar, evaluate_avatar, track_video, train_avatar
    from headsplat.runtime.errors import UserError
    from headsplat.track import Frame, Track, load_track

if sys.platform == "win32":
    sys.tracebacklimit = 0  # one line says it all
    raise ImportError(
        "headsplat does not run on Windows itself: install WSL2 (wsl --install) and run it there"
    )

__all__ = [
    "Avatar",
    "Frame",
    "FrameCode",
    "HeadModel",
    "Track",
    "UserError",
    "drive_avatar",
    "evaluate_avatar",
    "load_avatar",
    "load_head",
    "load_track",
    "track_video",
    "train_avatar",
]

_MODULES = {
    "headsplat.avatar": ("Avatar",),
    "headsplat.avatar_files": ("load_avatar",),
    "headsplat.frame_code": ("FrameCode",),
    "headsplat.heads.model": ("HeadModel", "load_head"),
    "headsplat.pipeline": ("drive_avatar", "evaluate_avatar", "track_video", "train_avatar"),
    "headsplat.runtime.errors": ("UserError",),
    "headsplat.track": ("Frame", "Track", "load_track"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(module), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
