"""DiffPoseTalk's denoiser and sampling written plainly in float64, from the paper's formulas.

`torch.nn`'s transformer decoder, one window, one sequence and one step at a time; nothing is cached
and no code of the library is used.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


def sinusoid(t: int, width: int) -> Tensor:
    row = [
        (math.sin if k % 2 == 0 else math.cos)(t / 10_000 ** ((k - k % 2) / width))
        for k in range(width)
    ]
    return torch.tensor(row, dtype=torch.float64)


class PlainDenoiser:
    """The network of a state dict; `options` are the training script's, by their new names."""

    def __init__(self, state: dict, options: dict, dtype=torch.float64, device="cpu") -> None:
        self.own = options
        self.weights = {k: v.to(device, dtype if v.is_floating_point() else None)
                        for k, v in state.items()}  # fmt: skip
        width = options["feature_dim"]
        layer = nn.TransformerDecoderLayer(
            width, options["n_heads"], options["mlp_ratio"] * width, dropout=0.1,
            activation="gelu", batch_first=True,
        )  # fmt: skip
        self.decoder = nn.TransformerDecoder(layer, options["n_layers"]).to(device, dtype).eval()
        head = "denoising_net.transformer."
        self.decoder.load_state_dict(
            {k.removeprefix(head): v for k, v in self.weights.items() if k.startswith(head)}
        )
        self.rows: dict[int, Tensor] = {}
        self.mask = self._mask() if options["align_mask_width"] > 0 else None

    def _mask(self) -> Tensor:
        """True where a token does not see an audio frame; the first token sees all."""
        count = self.own["n_prev_motions"] + self.own["n_motions"]
        hidden = [[abs(i - j) >= self.own["align_mask_width"] for j in range(count)]
                  for i in range(count)]  # fmt: skip
        mask = torch.tensor([[False] * count, *hidden])
        return mask.to(self.weights["audio_feature_map.bias"].device)

    def time(self, t: int) -> Tensor:
        if t not in self.rows:
            row = sinusoid(t, self.own["feature_dim"])
            self.rows[t] = row.to(self.weights["audio_feature_map.bias"])
        return self.rows[t]

    def linear(self, name: str, x: Tensor) -> Tensor:
        name = f"denoising_net.{name}"
        return functional.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def __call__(self, frames, audio, person, before, heard, t: int, indicator) -> Tensor:
        """Batched tensors of one window -> (E, P + L, motion)."""
        time = functional.gelu(self.linear("diff_step_map.0", self.time(t)))
        time = self.linear("diff_step_map.2", time)
        token = self.linear("person_proj", person)[:, None] + time
        moved = torch.cat([before, frames], 1)
        if self.own["use_indicator"]:
            mark = torch.cat([torch.zeros_like(before[..., 0]), indicator], 1)
            moved = torch.cat([moved, mark[..., None]], 2)
        x = torch.cat([token, self.linear("feature_proj", moved)], 1)
        if self.own["no_use_learnable_pe"]:
            x = x + sinusoid(x.shape[1], x.shape[2]).to(x)
        else:
            x = x + self.weights["denoising_net.PE"]
        y = self.decoder(x, torch.cat([heard, audio], 1), memory_mask=self.mask)
        y = functional.gelu(self.linear("motion_dec.0", y[:, 1:]))
        return self.linear("motion_dec.2", y)


def cosine_bars(steps: int) -> np.ndarray:
    f = [math.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(steps + 1)]
    bars = [1.0]
    for t in range(1, steps + 1):
        beta = min(max(1 - f[t] / f[t - 1], 1e-4), 0.999)
        bars.append(bars[-1] * (1 - beta))
    return np.array(bars)


def threshold(made: Tensor, span: int, quantile: float) -> Tensor:
    bounds = made[:, -span:].abs().flatten(1).quantile(quantile, dim=1).clamp(1, 4)
    return torch.stack([one.clamp(-b, b) for one, b in zip(made, bounds.tolist(), strict=True)])


def talk(net: PlainDenoiser, audio, frames, shape, style, start, noise, times, scales, quantile=0):
    """(W L, d) audio -> (frames, motion) of one sequence by incremental guidance.

    `noise(window, t)` gives the noise of a step; `times` are all of n..1 for DDPM, else DDIM's.
    """
    own, weights = net.own, net.weights
    span, last = own["n_motions"], own["n_prev_motions"]
    bars = cosine_bars(own["n_diff_steps"])
    before, heard = weights["start_motion_feat"], weights["start_audio_feat"]
    quiet = weights["null_audio_feat"].expand(1, span, -1)
    null = weights["null_style_feat"][0]
    entries = [(quiet, null), (None, null)] + ([(None, style[None])] if style is not None else [])
    made = []
    for window in range(len(audio) // span):
        sound = audio[None, window * span : (window + 1) * span]
        place = torch.arange(window * span, (window + 1) * span)
        mark = (place < frames).to(sound)[None]
        x = start[None]
        for step, t in enumerate(times):
            results = []
            for voice, taste in entries:
                person = torch.cat([shape[None], taste], 1)
                y = net(x, sound if voice is None else voice, person, before, heard, t, mark)
                if quantile:
                    y = threshold(y, span, quantile)
                results.append(y[:, -span:])
            clean = results[0]
            for scale, a, b in zip(scales, results[:-1], results[1:], strict=False):
                clean = clean + scale * (b - a)
            if len(times) == own["n_diff_steps"]:
                now, after = bars[t], bars[t - 1]
                alpha = now / after
                x = (
                    (1 - after) * alpha**0.5 / (1 - now) * x
                    + (1 - alpha) * after**0.5 / (1 - now) * clean
                    + ((1 - after) / (1 - now) * (1 - alpha)) ** 0.5 * noise(window, t)
                )
            elif step == len(times) - 1:
                x = clean
            else:
                now, after = bars[t], bars[times[step + 1]]
                error = (x - now**0.5 * clean) / (1 - now) ** 0.5
                x = after**0.5 * clean + (1 - after) ** 0.5 * error
        before, heard = x[:, -last:], sound[:, -last:]
        made.append(x[0])
    return torch.cat(made)[:frames]
