"""What the server answers with: the page, and data made of a subject's files in two threads.

Requests wait for their turn, and the server bounds how many may wait. So memory does not grow with
the number of requests.
"""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files as resources
from typing import Any

from headsplat.runtime.errors import UserError
from headsplat.view.cached import Cached
from headsplat.view.clip import clip_payload, clip_stamps, track_file
from headsplat.view.files import SubjectFiles
from headsplat.web.page_file import page_text

_TYPES = {".js": "text/javascript", ".css": "text/css"}
_STYLE = '<link rel="stylesheet" href="style.css">'
_CONFIG = '<script type="application/json" id="config">{}</script>'
_SCRIPT_START, _SCRIPT_END = '<script type="module">', "</script>"
PAGE = "text/html"


class Contents:
    """The contents of one subject.

    Args:
        files: of the subject.
    """

    def __init__(self, files: SubjectFiles) -> None:
        self._files = files
        # Images and models each belong to one thread.
        self._images, self._models = (ThreadPoolExecutor(1, name) for name in ("images", "models"))
        self._clip = Cached(lambda paths, stamps: clip_payload(self._files))
        self._parts: dict[str, Any] = {}

    async def state(self) -> dict[str, Any]:
        """Versions that change with what there is to see; the page asks for it now and then."""
        return await self._in(self._images, self._state)

    async def clip(self) -> bytes:
        """See `clip_payload`."""
        return await self._in(self._images, self._read_clip)

    async def image(self, frame_id: int) -> bytes | None:
        """See `ClipImages.image`."""
        return await self._in(self._images, lambda: self._clip_images().image(frame_id))

    async def ground_truth(self, frame_id: int) -> bytes | None:
        """See `ClipImages.ground_truth`."""
        return await self._in(self._images, self._ground_truth, frame_id)

    async def surface(self) -> bytes:
        """See `TrackedMesh.surface`."""
        return await self._in(self._models, lambda: self._mesh().surface())

    async def mesh(self, frame_id: int) -> bytes | None:
        """See `TrackedMesh.frame`."""
        return await self._in(self._models, lambda: self._mesh().frame(frame_id))

    async def avatar(self) -> bytes:
        """See `AvatarStates.payload`."""
        return await self._in(self._models, lambda: self._states().payload())

    def close(self) -> None:
        """Take no further work."""
        for pool in (self._images, self._models):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[..., Any], *given: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(pool, work, *given)

    def _state(self) -> dict[str, Any]:
        from headsplat.view.states import newest

        found = newest(self._files)
        return {
            "clip": str(hash(clip_stamps(self._files))),
            "tracked": track_file(self._files) is not None,
            "packs": [self._clip_images().count(kind) for kind in ("images", "alpha", "parsing")],
            "avatar": None if found is None else {"kind": found.kind, "version": found.version},
        }

    def _read_clip(self) -> bytes:
        return self._clip.get([], clip_stamps(self._files))

    def _ground_truth(self, frame_id: int) -> bytes | None:
        from headsplat.track import read_track

        path = track_file(self._files)
        if path is None:
            return None
        size = self._once("size", lambda: Cached(lambda paths: _size(read_track(paths[0]))))
        person = "states" in self._parts and self._parts["states"].torso
        return self._clip_images().ground_truth(frame_id, size.get([path]), person)

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        """A part that is made when it is first needed, because it loads PyTorch."""
        if name not in self._parts:
            self._parts[name] = make()
        return self._parts[name]

    def _clip_images(self) -> Any:
        from headsplat.view.images import ClipImages

        return self._once("clip_images", lambda: ClipImages(self._files))

    def _mesh(self) -> Any:
        from headsplat.view.mesh import TrackedMesh, mesh_files

        _spare_a_run()

        paths = mesh_files(self._files)
        if not paths:
            raise UserError("the clip is not tracked yet; wait for its run")
        made = self._once("mesh", lambda: Cached(lambda paths: TrackedMesh(self._files)))
        return made.get(paths)

    def _states(self) -> Any:
        from headsplat.view.states import AvatarStates

        _spare_a_run()
        return self._once("states", lambda: AvatarStates(self._files))


def _spare_a_run() -> None:
    """Leave the processor to a run that goes on."""
    import torch

    torch.set_num_threads(1)


def _size(track: Any) -> tuple[int, int]:
    return track.width, track.height


def page_files(config: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Name in the address -> (text, media type); the page itself is "".

    Args:
        config: what `start` of view.js takes.
    """
    found = {"": (_page(config), PAGE)}
    for package in ("headsplat.web", "headsplat.view"):
        for entry in resources(package).joinpath("page").iterdir():
            kind = _TYPES.get(entry.name[entry.name.rfind(".") :])
            if kind is None:
                continue
            if entry.name in found:
                raise ValueError(f"{entry.name}: is in both page folders")
            found[entry.name] = entry.read_text(encoding="utf-8"), kind
    return found


def _page(config: dict[str, Any]) -> str:
    """The avatar's page with the viewer's style and script, and nothing inline that runs."""
    text = page_text("index.html")
    start = text.index(_SCRIPT_START)
    end = text.index(_SCRIPT_END, start) + len(_SCRIPT_END)
    held = json.dumps(config, allow_nan=False).replace("<", "\\u003c")
    parts = {
        text[start:end]: '<script type="module" src="view.js"></script>',
        _STYLE: f'{_STYLE}\n<link rel="stylesheet" href="view.css">',
        _CONFIG: _CONFIG.replace("{}", held),
    }
    for old, new in parts.items():
        if text.count(old) != 1:
            raise ValueError(f"index.html: expected '{old[:60]}' once")
        text = text.replace(old, new)
    return text
