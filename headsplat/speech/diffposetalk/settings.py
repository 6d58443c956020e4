"""Sizes and choices of a DiffPoseTalk model, from the options in its checkpoint.

Checkpoints carry the training script's options. Older ones name some of them differently, and the
official code reads a missing option as None, false or 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headsplat.runtime.errors import UserError, shown

EXPRESSIONS, SHAPE, AUDIO = 50, 100, "audio"
STYLE = "style"
SCHEDULES = ("linear", "quadratic", "sigmoid", "cosine")
_ORIGINAL = "give the original checkpoint"
# Options that are integers, with their lowest and highest value. The published models have 512, 8,
# 8, 4, 100, 10, 25 and 500.
_RANGES = {
    "feature_dim": (2, 4096), "n_heads": (1, 64), "n_layers": (1, 64), "mlp_ratio": (1, 16),
    "n_motions": (1, 1000), "n_prev_motions": (1, 500), "fps": (1, 120),
    "n_diff_steps": (1, 10_000),
}  # fmt: skip
_STYLE_RANGES = {key: _RANGES[key] for key in ("feature_dim", "n_heads", "n_layers", "mlp_ratio",
                                               "n_motions", "fps")}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Settings of a DiffPoseTalk model.

    Attributes:
        feature_dim: width of the decoder.
        n_heads: of its attention.
        n_layers: number of its layers.
        mlp_ratio: width of its feed-forward layers over `feature_dim`.
        n_motions: frames that one window makes.
        n_prev_motions: frames before them that it sees.
        fps: frames a second.
        n_diff_steps: diffusion steps of the training.
        diff_schedule: one of `SCHEDULES`.
        no_head_pose: it predicts no head rotation.
        align_mask_width: width of the audio that a frame attends to; 0 for all of the window.
        learnable_pe: its positions are learned.
        use_indicator: frames beyond the sound are marked.
        d_style: length of a style; 0 if it knows none.
        guided: conditions that it was trained to miss, in the order of guidance.
        pad_mode: `zero` or `replicate`, after the sound's end.
    """

    feature_dim: int = 512
    n_heads: int = 8
    n_layers: int = 8
    mlp_ratio: int = 4
    n_motions: int = 100
    n_prev_motions: int = 10
    fps: int = 25
    n_diff_steps: int = 500
    diff_schedule: str = "cosine"
    no_head_pose: bool = False
    align_mask_width: int = 1
    learnable_pe: bool = True
    use_indicator: bool = True
    d_style: int = 128
    guided: tuple[str, ...] = (AUDIO, STYLE)
    pad_mode: str = "zero"

    @property
    def motion_dim(self) -> int:
        """Numbers a frame: expressions, head rotation if any, jaw about x."""
        return EXPRESSIONS + (1 if self.no_head_pose else 4)

    @property
    def person_dim(self) -> int:
        """Length of the person's vector: shape and style."""
        return SHAPE + self.d_style

    @property
    def context(self) -> int:
        """Frames of a window with those before it."""
        return self.n_prev_motions + self.n_motions


@dataclass(frozen=True)
class StyleSettings:
    """Settings of a style encoder; see `Settings`."""

    feature_dim: int = 128
    n_heads: int = 4
    n_layers: int = 4
    mlp_ratio: int = 4
    n_motions: int = 100
    fps: int = 25
    no_head_pose: bool = False

    @property
    def motion_dim(self) -> int:
        """Numbers a frame, as in `Settings`."""
        return EXPRESSIONS + (1 if self.no_head_pose else 4)


def read_settings(options: Mapping[str, Any], where: str) -> Settings:
    """Settings of a model from the options of its training, under old or new names.

    Args:
        options: name -> value.
        where: path of the file, for messages.

    Raises:
        UserError: an option is missing or out of range, or the model is of a kind that no
            published checkpoint has.
    """
    _require(options, where, rot_repr=("aa",), target=("sample",), architecture=("decoder",),
             audio_model=("hubert", "wav2vec2"), diff_schedule=SCHEDULES,
             pad_mode=("zero", "replicate"))  # fmt: skip
    numbers = _integers(options, _RANGES, where)
    _check_sizes(numbers, where)
    styled = options.get("style_enc_ckpt") is not None
    style = _integers(options, {"d_style": (1, 4096)}, where)["d_style"] if styled else 0
    width = _mask_width(options)
    if type(width) is not int or width > numbers["n_motions"]:
        raise UserError(
            f"{where}: option 'align_mask_width' is {shown(repr(width), 40)}, not a width up to "
            f"{numbers['n_motions']}; {_ORIGINAL}"
        )
    named = str(options.get("guiding_conditions") or "").split(",")
    guided = tuple(name for name in (AUDIO, STYLE) if name in named)
    if STYLE in guided and not styled:
        raise UserError(f"{where}: is guided by a style but has no style encoder; {_ORIGINAL}")
    return Settings(
        **numbers,
        diff_schedule=options["diff_schedule"],
        no_head_pose=_flag(options, "no_head_pose", "predict_head_pose"),
        align_mask_width=width,
        learnable_pe=not _flag(options, "no_use_learnable_pe", "use_learnable_pe"),
        use_indicator=bool(options.get("use_indicator")),
        d_style=style,
        guided=guided,
        pad_mode=options["pad_mode"],
    )


def read_style_settings(options: Mapping[str, Any], where: str) -> StyleSettings:
    """Settings of a style encoder from the options of its training; errors as `read_settings`."""
    _require(options, where, rot_repr=("aa",))
    numbers = _integers(options, _STYLE_RANGES, where)
    _check_sizes(numbers, where)
    head = _flag(options, "no_head_pose", "predict_head_pose")
    return StyleSettings(**numbers, no_head_pose=head)


def _require(options: Mapping[str, Any], where: str, **choices: tuple[str, ...]) -> None:
    for name, known in choices.items():
        value = options.get(name)
        if type(value) is not str or value not in known:
            raise UserError(
                f"{where}: option '{name}' is {shown(repr(value), 40)}, not "
                f"{' or '.join(known)}; {_ORIGINAL}"
            )


def _integers(
    options: Mapping[str, Any], ranges: Mapping[str, tuple[int, int]], where: str
) -> dict[str, int]:
    found = {}
    for name, (low, high) in ranges.items():
        value = options.get(name)
        if type(value) is not int or not low <= value <= high:
            raise UserError(
                f"{where}: option '{name}' is {shown(repr(value), 40)}, not {low} to {high}; "
                f"{_ORIGINAL}"
            )
        found[name] = value
    return found


def _check_sizes(numbers: Mapping[str, int], where: str) -> None:
    if numbers["feature_dim"] % numbers["n_heads"] or numbers["feature_dim"] % 2:
        raise UserError(
            f"{where}: a width of {numbers['feature_dim']} is not for {numbers['n_heads']} heads; "
            f"{_ORIGINAL}"
        )
    if numbers.get("n_prev_motions", 0) > numbers["n_motions"]:
        raise UserError(
            f"{where}: option 'n_prev_motions' is above {numbers['n_motions']}, the frames of a "
            f"window; {_ORIGINAL}"
        )


def _mask_width(options: Mapping[str, Any]) -> Any:
    """The width of the mask; no mask for a width below 1."""
    if "align_mask_width" in options:
        width = options["align_mask_width"]
        return max(0, width) if type(width) is int else width
    return 1 if options.get("use_alignment_mask") else 0


def _flag(options: Mapping[str, Any], negative: str, positive: str) -> bool:
    """A flag under its newer, negative name or its older, positive one."""
    if negative in options:
        return bool(options[negative])
    return not options.get(positive)
