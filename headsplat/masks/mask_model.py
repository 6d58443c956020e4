"""What the registries of matting and parsing models share."""

from dataclasses import dataclass

from headsplat.registry import Plugin, Registry

AUTO = "auto"


@dataclass(frozen=True)
class MaskModel(Plugin):
    """A matting or parsing model.

    Attributes:
        weights: key of the network's file among the assets; None for a model without a file.
    """

    weights: str | None = None


def candidates(models: Registry[MaskModel], chosen: str) -> list[str]:
    """Models to try in order: the one chosen; for `auto`, networks first.

    Raises:
        UserError: no such model.
    """
    if chosen != AUTO:
        return [chosen] if models[chosen] else []
    return sorted(models, key=lambda name: models[name].weights is None)
