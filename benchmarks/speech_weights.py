"""Random weights in the layouts of published speech networks, and their files.

The layouts are written out here, key by key, and do not come from the networks under test.
"""

import argparse
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor

# Sizes of the published speech encoder, and of a small one.
BASE = {"channels": 512, "width": 768, "hidden": 3072, "layers": 12, "kernel": 128, "groups": 16}
SMALL = {"channels": 8, "width": 16, "hidden": 24, "layers": 2, "kernel": 16, "groups": 4}
OPTIONS = {
    "target": "sample", "guiding_conditions": "audio,style", "cfg_mode": "incremental",
    "n_diff_steps": 500, "diff_schedule": "cosine", "rot_repr": "aa", "no_head_pose": False,
    "style_enc_ckpt": Path("experiments/SE/x/checkpoints/iter_0034000.pt"), "d_style": 128,
    "audio_model": "hubert", "architecture": "decoder", "align_mask_width": 1,
    "no_use_learnable_pe": False, "use_indicator": True, "feature_dim": 512, "n_heads": 8,
    "n_layers": 8, "mlp_ratio": 4, "n_motions": 100, "n_prev_motions": 10, "fps": 25,
    "pad_mode": "zero", "data_root": Path("datasets/HDTF_TFHP/lmdb"), "lr": 1e-4,
}  # fmt: skip
TINY = {
    "feature_dim": 16, "n_heads": 2, "n_layers": 2, "mlp_ratio": 2, "n_motions": 12,
    "n_prev_motions": 3, "n_diff_steps": 20, "d_style": 6,
}  # fmt: skip
STYLE_OPTIONS = {
    "rot_repr": "aa", "no_head_pose": False, "feature_dim": 128, "n_heads": 4, "n_layers": 4,
    "mlp_ratio": 4, "n_motions": 100, "fps": 25, "stats_file": Path("stats_train.npz"),
}  # fmt: skip


def old_names(options: dict) -> dict:
    """The same options as older training scripts named them."""
    renamed = dict(options)
    renamed["use_alignment_mask"] = renamed.pop("align_mask_width") == 1
    renamed["predict_head_pose"] = not renamed.pop("no_head_pose")
    renamed["use_learnable_pe"] = not renamed.pop("no_use_learnable_pe")
    return renamed


def _attention(name: str, width: int) -> dict:
    return {
        f"{name}.in_proj_weight": (3 * width, width), f"{name}.in_proj_bias": (3 * width,),
        f"{name}.out_proj.weight": (width, width), f"{name}.out_proj.bias": (width,),
    }  # fmt: skip


def _linear(name: str, inputs: int, outputs: int) -> dict:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> dict:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def encoder_shapes(sizes: dict, spelling: str = "old") -> dict:
    """HuBERT's and wav2vec2's 211 entries."""
    channels, width, hidden = sizes["channels"], sizes["width"], sizes["hidden"]
    shapes = {"masked_spec_embed": (width,)}
    for k, kernel in enumerate((10, 3, 3, 3, 3, 2, 2)):
        layer = f"feature_extractor.conv_layers.{k}"
        shapes[f"{layer}.conv.weight"] = (channels, 1 if k == 0 else channels, kernel)
        if k == 0:
            shapes |= _norm(f"{layer}.layer_norm", channels)
    shapes |= _norm("feature_projection.layer_norm", channels)
    shapes |= _linear("feature_projection.projection", channels, width)
    names = {
        "old": ("weight_g", "weight_v"),
        "new": ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    }[spelling]
    position = "encoder.pos_conv_embed.conv"
    shapes[f"{position}.bias"] = (width,)
    shapes[f"{position}.{names[0]}"] = (1, 1, sizes["kernel"])
    shapes[f"{position}.{names[1]}"] = (width, width // sizes["groups"], sizes["kernel"])
    shapes |= _norm("encoder.layer_norm", width)
    for k in range(sizes["layers"]):
        layer = f"encoder.layers.{k}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            shapes |= _linear(f"{layer}.attention.{part}", width, width)
        shapes |= _norm(f"{layer}.layer_norm", width) | _norm(f"{layer}.final_layer_norm", width)
        shapes |= _linear(f"{layer}.feed_forward.intermediate_dense", width, hidden)
        shapes |= _linear(f"{layer}.feed_forward.output_dense", hidden, width)
    return shapes


def talker_shapes(options: dict, sizes: dict, spelling: str = "old") -> dict:
    """DiffPoseTalk's 381 entries."""
    width, motion = options["feature_dim"], 51 if options["no_head_pose"] else 54
    before, count = options["n_prev_motions"], options["n_prev_motions"] + options["n_motions"]
    steps = options["n_diff_steps"] + 1
    shapes = {f"audio_encoder.{k}": v for k, v in encoder_shapes(sizes, spelling).items()}
    shapes |= _linear("audio_feature_map", sizes["width"], width)
    shapes |= {
        "start_audio_feat": (1, before, width), "start_motion_feat": (1, before, motion),
        "null_style_feat": (1, 1, options["d_style"]), "null_audio_feat": (1, 1, width),
        "denoising_net.TE.pe": (1, steps, width),
    }  # fmt: skip
    if options["no_use_learnable_pe"]:
        shapes["denoising_net.PE.pe"] = (1, 600, width)
    else:
        shapes["denoising_net.PE"] = (1, 1 + count, width)
    if options["align_mask_width"] > 0:
        shapes["denoising_net.alignment_mask"] = (1 + count, count)
    for k in (0, 2):
        shapes |= _linear(f"denoising_net.diff_step_map.{k}", width, width)
    shapes |= _linear("denoising_net.person_proj", 100 + options["d_style"], width)
    shapes |= _linear("denoising_net.feature_proj", motion + options["use_indicator"], width)
    for k in range(options["n_layers"]):
        layer = f"denoising_net.transformer.layers.{k}"
        shapes |= _attention(f"{layer}.self_attn", width)
        shapes |= _attention(f"{layer}.multihead_attn", width)
        shapes |= _linear(f"{layer}.linear1", width, options["mlp_ratio"] * width)
        shapes |= _linear(f"{layer}.linear2", options["mlp_ratio"] * width, width)
        for n in (1, 2, 3):
            shapes |= _norm(f"{layer}.norm{n}", width)
    shapes |= _linear("denoising_net.motion_dec.0", width, width // 2)
    shapes |= _linear("denoising_net.motion_dec.2", width // 2, motion)
    for name in ("betas", "alphas", "alpha_bars", "sigmas_flex", "sigmas_inflex"):
        shapes[f"diffusion_sched.{name}"] = (steps,)
    return shapes


def style_shapes(options: dict) -> dict:
    """The style encoder's 50 entries."""
    width = options["feature_dim"]
    shapes = _linear("motion_proj", 51 if options["no_head_pose"] else 54, width)
    for k in range(options["n_layers"]):
        layer = f"transformer.layers.{k}"
        shapes |= _attention(f"{layer}.self_attn", width)
        shapes |= _linear(f"{layer}.linear1", width, options["mlp_ratio"] * width)
        shapes |= _linear(f"{layer}.linear2", options["mlp_ratio"] * width, width)
        shapes |= _norm(f"{layer}.norm1", width) | _norm(f"{layer}.norm2", width)
    return shapes


def lam_shapes(sizes: dict, spelling: str = "old") -> dict:
    """LAM-A2E's 247 entries."""
    shapes = {f"audio_encoder.{k}": v for k, v in encoder_shapes(sizes, spelling).items()}
    shapes |= _linear("feature_projection", sizes["width"], 512)
    shapes |= {"identity_encoder.id_mlp.weight": (64, 12, 1), "identity_encoder.id_mlp.bias": (64,)}
    convolutions = {f"identity_encoder.first_net.conv_layers.{k}": 512 for k in (1, 2)}
    convolutions |= {"identity_encoder.first_net.conv_layers.0": 576}
    convolutions |= {f"decoder.0.{k}": 512 for k in range(3)}
    for name, inputs in convolutions.items():
        shapes[f"{name}.conv.weight"] = (512, inputs, 3)
        shapes[f"{name}.conv.bias"] = (512,)
        shapes |= _norm(f"{name}.norm", 512)
    first = "identity_encoder.first_net.conv_layers.0.residual_layer.0"
    shapes |= {f"{first}.weight": (512, 576, 3), f"{first}.bias": (512,)}
    for kind in ("ih", "hh"):
        shapes[f"identity_encoder.grus.weight_{kind}_l0"] = (1536, 512)
        shapes[f"identity_encoder.grus.bias_{kind}_l0"] = (1536,)
    shapes |= _linear("output_proj", 512, 52)
    return {f"module.backbone.{k}": v for k, v in shapes.items()}


def _mask(tokens: int, frames: int) -> Tensor:
    """The mask of width 1: a frame sees its own audio frame, the person's token sees all."""
    hidden = torch.ones(tokens, frames, dtype=torch.bool)
    hidden[0] = False
    hidden[1:].fill_diagonal_(False)
    return hidden


def expanded(shapes: dict) -> dict[str, Tensor]:
    """Entries of full shape that share one number, for checks of keys and shapes."""
    return {
        key: _mask(*shape) if key.endswith("alignment_mask") else torch.zeros(()).expand(shape)
        for key, shape in shapes.items()
    }


def random_state(shapes: dict, seed: int = 0) -> "OrderedDict[str, Tensor]":
    """Random entries that keep activations of order one."""
    generator = torch.Generator().manual_seed(seed)
    state = OrderedDict()
    for key, shape in shapes.items():
        value = torch.randn(shape, generator=generator)
        if key.endswith("alignment_mask"):
            value = _mask(*shape)
        elif key.endswith(("bias", "null_style_feat", "null_audio_feat")) or "start_" in key:
            value = value * 0.1
        elif "norm" in key or key.endswith("weight_g") or key.endswith("original0"):
            value = 1 + 0.1 * value
        elif value.ndim > 1:
            value = value * (value[0].numel() ** -0.5)
        state[key] = value
    return state


def save(path: Path, options: dict, **states) -> Path:
    """Write a checkpoint as the training script does."""
    torch.save({"args": argparse.Namespace(**options), **states, "iter": 100}, path)
    return path
