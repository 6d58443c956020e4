"""The report's headline numbers, and what each of them means."""

import html
from collections.abc import Mapping
from typing import Any

from headsplat.evaluate.report import page
from headsplat.metrics import METRICS

# Metric -> label and format, in the order of the page. A metric that a clip lacks is left out.
_SHOWN = {
    "psnr_head": ("PSNR head", "{:.2f} dB"),
    "psnr_head_pixels": ("PSNR head pixels", "{:.2f} dB"),
    "psnr_edge": ("PSNR edge", "{:.2f} dB"),
    "psnr_mouth": ("PSNR mouth", "{:.2f} dB"),
    "psnr_eyes": ("PSNR eyes", "{:.2f} dB"),
    "psnr_eyes_closed": ("PSNR eyes, shut", "{:.2f} dB"),
    "psnr_collar": ("PSNR collar", "{:.2f} dB"),
    "psnr_full": ("PSNR full", "{:.2f} dB"),
    "ssim_head": ("SSIM head", "{:.4f}"),
    "lpips_head": ("LPIPS head", "{:.4f}"),
    "temporal_error": ("temporal error", "{:.4f}"),
    "static_flicker": ("static flicker", "{:.4f}"),
    "warped_error": ("warped error", "{:.4f}"),
    "fps_batched": ("frames/s, batched", "{:.0f}"),
    "fps_single": ("frames/s, single", "{:.0f}"),
}


def tiles(metrics: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    """Tiles of the metrics and of the training time, and a list of what they mean."""
    known = {name: shown for name, shown in _SHOWN.items() if metrics.get(name) is not None}
    made = [
        page.tile(label, form.format(metrics[name]), METRICS[name])
        for name, (label, form) in known.items()
    ]
    seconds, device = training["seconds"], training["device"]
    made.append(page.tile("training", f"{seconds:.0f} s", f"on {device}"))
    meanings = "".join(
        f"<li><b>{html.escape(label)}</b>: {html.escape(METRICS[name])}</li>"
        for name, (label, _) in known.items()
    )
    return (
        f'<div class="tiles">{"".join(made)}</div>'
        f"<details><summary>what these numbers mean</summary><ul>{meanings}</ul></details>"
    )
