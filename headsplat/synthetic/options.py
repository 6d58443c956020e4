"""Options of the built-in clip."""

from dataclasses import dataclass

from headsplat.options import option


@dataclass(frozen=True)
class BuiltinOptions:
    """Section `builtin` of the configuration."""

    seconds: float = option(12.0, "length of the built-in clip, seconds", 2, 120)
    size: int = option(512, "its width and height, pixels", 128, 1024, multiple_of=2)
