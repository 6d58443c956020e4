"""Options of learning a voice."""

from dataclasses import dataclass

from headsplat.options import option


@dataclass(frozen=True)
class VoiceOptions:
    """Section `voice` of the configuration."""

    gain: float | None = option(
        None,
        "factor of the mouth's motion; null: what restores the clip's own variance, 1 to 1.5",
        0.5,
        2,
    )
    phones: bool = option(
        True, "close the lips at p, b and m, found by PocketSphinx where it is installed"
    )
