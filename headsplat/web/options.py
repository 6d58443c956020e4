"""Options of the web page; importing this module imports no torch."""

from dataclasses import dataclass

from headsplat.options import option

INT8, FP16 = "int8", "fp16"
ALL = "all"


@dataclass(frozen=True)
class WebOptions:
    """Section `web`."""

    precision: str = option(
        INT8, "numbers of the Gaussians: int8, or fp16 in twice the size", choices=(INT8, FP16)
    )
    motions: str = option(
        ALL,
        "motions that the page plays beside the clip's track: all that fit the subject's head, "
        "none, or names divided by commas",
        pattern="^[A-Za-z0-9_, -]+$",
    )
    seconds: float = option(60, "longest part of each motion and its sound, seconds", 0, 3600)
    bases: int = option(24, "bases that the network of a flashavatar avatar is reduced to", 4, 128)
    webcam: str = option(
        "",
        "mediapipe-tasks-vision-0.10.35.tgz of npm's @mediapipe/tasks-vision, to put the webcam's "
        "face tracker into the page, 10 MB; without it the page asks its user for two files",
    )
