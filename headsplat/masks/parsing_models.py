"""Registry of parsing models. A new model is one module and one line here.

Importing this module imports no model, so that planning needs no torch.
"""

from dataclasses import dataclass

from headsplat.masks.mask_model import AUTO, MaskModel
from headsplat.options import option
from headsplat.registry import Registry


@dataclass(frozen=True)
class ParseOptions:
    """Section `parse` of the configuration."""

    model: str = option(
        AUTO,
        "auto: bisenet where its weights are found, else geometry",
        choices=lambda: (AUTO, *PARSING_MODELS),
    )


# The target of a network is a function (weights, device, GPU's number or None) ->
# `headsplat.networks.face_parsers.FaceParser`. `geometry` works on the track instead.
PARSING_MODELS: Registry[MaskModel] = Registry(
    "parsing model",
    {
        "geometry": MaskModel("headsplat.masks.parse:parse_chunk", "the tracked mesh"),
        "bisenet": MaskModel(
            "headsplat.networks.face_parsers:open_parser", "BiSeNet, .onnx or .pth", "bisenet"
        ),
    },
)
