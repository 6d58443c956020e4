"""Options of learning a voice."""

from dataclasses import dataclass

from headsplat.options import option


@dataclass(frozen=True)
class VoiceOptions:
    """Section `voice` of the configuration."""

    gain: float = option(
        0.0, "factor of the mouth's motion; 0: what restores the clip's own variance", 0, 2
    )
    closures: str = option(
        "auto",
        "auto: scored with lips closed at p, b and m where PocketSphinx is installed; never",
        choices=("auto", "never"),
    )
