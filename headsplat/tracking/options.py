"""Options of the track."""

from dataclasses import dataclass

from headsplat.options import option


@dataclass(frozen=True)
class TrackOptions:
    """Section `track` of the configuration."""

    photometric: str = option(
        "auto",
        "refine the landmarks' track against the images; auto: only where held-out skin agrees "
        "better; never: publish the landmarks' track",
        choices=("auto", "always", "never"),
    )
    trunk: str = option(
        "solve",
        "pose of neck base, shoulders and chest: solve it from the images, or none: they are stiff "
        "under the head",
        choices=("solve", "none"),
    )
