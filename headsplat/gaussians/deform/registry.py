"""Registry of deformation models. A new model is one module and one line here.

Importing this module imports no model, so that planning needs no torch.
"""

from typing import Any

from headsplat.options import read_options
from headsplat.registry import Plugin, Registry
from headsplat.runtime.errors import UserError, one_line

MODELS: Registry[Plugin] = Registry(
    "deformation model",
    {
        "blendshapes": Plugin(
            "headsplat.gaussians.deform.blendshapes:BlendshapeDeformation",
            "learned bases mixed once per frame",
        ),
        "flashavatar": Plugin(
            "headsplat.gaussians.deform.flashavatar:FlashAvatarDeformation",
            "FlashAvatar's MLP per Gaussian",
        ),
        "dynavatar": Plugin(
            "headsplat.gaussians.deform.dynavatar:DynAvatarDeformation",
            "DynAvatar's networks: codes, displacements and attributes of each Gaussian",
        ),
    },
)


def model_class(name: str) -> type:
    """The `Deformation` subclass of a name.

    Raises:
        UserError: no such model.
        TypeError: the class has another `name`, so its avatars could not be loaded.
    """
    model = MODELS[name].load()
    if model.name != name:
        raise TypeError(f"{MODELS[name].target}: its name is '{model.name}', not '{name}'")
    return model


def model_options(name: str) -> type:
    """The dataclass of a model's own options, read without importing the model."""
    return read_options(MODELS[name].module)


def build_deformation(name: str, settings: dict[str, Any]) -> Any:
    """An empty model; `settings` are those of `Deformation.settings`.

    Raises:
        UserError: no such model, or settings it does not take.
    """
    model = model_class(name)
    try:
        return model(**settings)
    except (TypeError, ValueError) as error:
        reason = one_line(error)
        raise UserError(f"deformation model '{name}': {reason}; train the avatar again") from error
