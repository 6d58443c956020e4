"""Registry of where a live avatar goes. A new one is one module and one line here.

Importing this module imports none of them.
"""

from dataclasses import dataclass

from headsplat.registry import Plugin, Registry


class OutputEnded(Exception):
    """An output has all that it wants, such as a video of a given length."""


@dataclass(frozen=True)
class Output(Plugin):
    """An output; the target is a class (options, size, arguments) that sends frames.

    It is an asynchronous context manager with `encode(image) -> bytes`, which runs in the drawing
    thread, `send(data, arrived)`, which raises `OutputEnded` after the end, `hurry()`, after which
    its end may lose data, `latency` and `report()`, what was sent.

    Attributes:
        steady: it gets the last frame again while nothing new comes.
        arguments: it takes arguments of its own.
    """

    steady: bool = True
    arguments: bool = False


OUTPUTS: Registry[Output] = Registry(
    "output",
    {
        "websocket": Output(
            "headsplat.live.websocket:WebSocketOutput",
            "motion or images for browsers and programs",
            steady=False,
        ),
        "ffmpeg": Output(
            "headsplat.live.pipes:FfmpegOutput",
            "an ffmpeg process, whose output arguments follow --to",
            arguments=True,
        ),
        "v4l2": Output(
            "headsplat.live.pipes:V4l2Output",
            "a video device of v4l2loopback, which follows --to",
            arguments=True,
        ),
        "stdout": Output("headsplat.live.pipes:StdoutOutput", "raw RGB images, 8 bits a channel"),
        "virtual-camera": Output(
            "headsplat.live.pipes:CameraOutput", "a camera that calls can choose, by pyvirtualcam"
        ),
    },
)
