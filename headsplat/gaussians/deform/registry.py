"""The deformation models by name."""

from typing import Any

from headsplat.gaussians.deform.base import Deformation
from headsplat.gaussians.deform.blendshapes import BlendshapeDeformation
from headsplat.gaussians.deform.flashavatar import FlashAvatarDeformation
from headsplat.runtime.errors import UserError

MODELS: dict[str, type[Deformation]] = {
    model.name: model for model in (BlendshapeDeformation, FlashAvatarDeformation)
}


def build_deformation(name: str, settings: dict[str, Any]) -> Deformation:
    """An empty model; `settings` are those of `Deformation.settings`.

    Raises:
        UserError: no such model, or settings it does not take.
    """
    if name not in MODELS:
        raise UserError(f"deformation model '{name}': there are {', '.join(sorted(MODELS))}")
    try:
        return MODELS[name](**settings)
    except TypeError as error:
        raise UserError(f"deformation model '{name}': {error}; train the avatar again") from error
