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
    neck: bool = option(
        False,
        "split head turns between trunk (slow) and neck (the rest); only VHAP's layout holds both",
    )
