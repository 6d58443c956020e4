"""Registries of matting and parsing models. A new model is one module and one line here.

Importing this module imports no model, so that planning needs no torch and each model runs where
the libraries of the others are absent.
"""

from dataclasses import dataclass
from pathlib import Path

from headsplat.options import option
from headsplat.registry import Plugin, Registry

AUTO = "auto"


@dataclass(frozen=True)
class MaskModel(Plugin):
    """A matting or parsing model.

    Attributes:
        weights: key of the network's file among the assets; None for a model without a file.
    """

    weights: str | None = None


@dataclass(frozen=True)
class MatteOptions:
    """Section `matte` of the configuration, and further arguments of a matting model.

    Attributes:
        edge_radius: radius of the edge refinement, in pixels of an image 512 wide.
        temporal_window: number of earlier frames used for temporal smoothing.
        weights: file of the network, or None.
        turn: number of the chunk, by which chunks are distributed over GPUs.
        model: name in `MATTING_MODELS`, or "auto".
    """

    edge_radius: float = option(
        8.0, "radius of the edge refinement in pixels of a 512 image; 0 keeps the edges", 0, 64
    )
    temporal_window: int = option(4, "earlier frames for temporal smoothing; 0 for none", 0, 32)
    weights: Path | None = None
    turn: int = 0
    model: str = option(
        AUTO,
        "auto: rvm where its weights are found, else mediapipe",
        choices=lambda: (AUTO, *MATTING_MODELS),
    )


@dataclass(frozen=True)
class ParseOptions:
    """Section `parse` of the configuration."""

    model: str = option(
        AUTO,
        "auto: bisenet where its weights are found, else geometry",
        choices=lambda: (AUTO, *PARSING_MODELS),
    )


# The target is a function `MatteOptions` -> `headsplat.masks.matte.MattingModel`.
MATTING_MODELS: Registry[MaskModel] = Registry(
    "matting model",
    {
        "mediapipe": MaskModel(
            "headsplat.masks.mediapipe_matting:open_matting", "the segmenters of MediaPipe's wheel"
        ),
        "rvm": MaskModel(
            "headsplat.masks.rvm_matting:open_matting", "Robust Video Matting, .onnx or .pth", "rvm"
        ),
    },
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


def candidates(models: Registry[MaskModel], chosen: str) -> list[str]:
    """Models to try in order: the one chosen; for `auto`, networks first.

    Raises:
        UserError: no such model.
    """
    if chosen != AUTO:
        return [chosen] if models[chosen] else []
    return sorted(models, key=lambda name: models[name].weights is None)
