"""Options of detection and of the crop."""

from dataclasses import dataclass

from headsplat.options import option


@dataclass(frozen=True)
class DetectOptions:
    """Section `detect` of the configuration."""

    model: str = option(
        "litert",
        "what runs the face landmarker: LiteRT, or MediaPipe itself where its package is installed",
        choices=("litert", "mediapipe"),
    )
    second: str = option(
        "none",
        "a second detector whose 68 points are kept beside the 478, where its package is installed",
        choices=("none", "face_alignment"),
    )


@dataclass(frozen=True)
class CropOptions:
    """Section `crop` of the configuration."""

    size: int = option(512, "width and height of the square crops, pixels", 64, 1024, multiple_of=2)
