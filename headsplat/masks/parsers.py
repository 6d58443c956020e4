"""The parsing models by name. A new network is one module and one line here.

Importing this module imports no model, so that planning needs no torch.
"""

from headsplat.masks.networks import MaskModel
from headsplat.registry import Registry

# The target of a network is a function (weights, device, GPU's number or None) ->
# `headsplat.networks.face_parsers.FaceParser`. `geometry` works on the track instead.
PARSERS: Registry[MaskModel] = Registry(
    "parsing model",
    {
        "geometry": MaskModel("headsplat.masks.parse:parse_chunk", "the tracked mesh"),
        "bisenet": MaskModel(
            "headsplat.networks.face_parsers:open_parser", "BiSeNet, .onnx or .pth", "bisenet"
        ),
    },
)
