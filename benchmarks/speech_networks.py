"""Time DiffPoseTalk and its speech encoder with random weights of the published sizes.

Writes benchmarks/results/speech_networks_gpu.json on a GPU, else speech_networks.json.

The peer of a diffusion step is the plain decoder: `torch.nn.TransformerDecoder` in eager mode, with
the guidance entries as one batch, as the official code runs it. Both use TF32 on a GPU.

    python benchmarks/speech_networks.py [--device cuda]
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow_scripts"), str(ROOT)]

from benchmarks.speech_weights import BASE, OPTIONS, random_state, talker_shapes  # noqa: E402
from headsplat.networks import wav2vec  # noqa: E402
from headsplat.runtime.device import fast_products  # noqa: E402
from headsplat.speech.diffposetalk.model import DiffPoseTalk, build_model  # noqa: E402
from headsplat.speech.diffposetalk.sampler import Sampling, SeededNoise, Take, sample  # noqa: E402
from headsplat.speech.diffposetalk.settings import read_settings  # noqa: E402
from tests.oracles.diffposetalk import PlainDenoiser  # noqa: E402

RATE, FPS, STEPS = 16_000, 25, 500
SIXTY = 60


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(run: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    """Median time of a call after one that is not counted."""
    run()
    times = []
    for _ in range(repeats):
        wait(device)
        start = time.perf_counter()
        run()
        wait(device)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def takes(model: DiffPoseTalk, device: torch.device, windows: int, count: int) -> list[Take]:
    own = model.settings
    generator = torch.Generator(device).manual_seed(1)
    made = []
    for seed in range(count):
        audio = torch.randn(
            windows * own.n_motions, own.feature_dim, generator=generator, device=device
        )
        person = [torch.randn(n, generator=generator, device=device) for n in (100, own.d_style)]
        made.append(Take(audio, len(audio), *person, SeededNoise(seed, device)))
    return made


def step_of(
    model: DiffPoseTalk, device: torch.device, steps: int, count: int, dtype: torch.dtype
) -> float:
    """Milliseconds per step for `count` sequences, from runs of one and of three windows."""
    sampling = Sampling(steps, dtype=dtype)
    one, three = (
        seconds(lambda n=n: sample(model, takes(model, device, n, count), sampling), device)
        for n in (1, 3)
    )
    return 1000 * (three - one) / (2 * steps)


def peer_step(state: dict, device: torch.device, steps: int) -> float:
    """Milliseconds per step of one sequence with three entries, plain and eager."""
    net = PlainDenoiser(state, OPTIONS, torch.float32, device)
    generator = torch.Generator(device).manual_seed(1)
    audio, person, before, heard, x = (
        torch.randn(shape, generator=generator, device=device)
        for shape in ((3, 100, 512), (3, 228), (3, 10, 54), (3, 10, 512), (1, 100, 54))
    )
    mark = torch.ones(3, 100, device=device)

    def run() -> None:
        y = x
        for t in range(steps, 0, -1):
            made = net(y.repeat(3, 1, 1), audio, person, before, heard, t, mark)[:, -100:]
            a, b, c = made.chunk(3)
            y = 0.5 * y + 0.5 * (a + 1.15 * (b - a) + 3 * (c - b)) + 0.1 * torch.randn_like(y)

    with torch.no_grad(), fast_products(device):
        return 1000 * seconds(run, device) / steps


def piece_difference(model: DiffPoseTalk, sound: torch.Tensor) -> float:
    """How far encoding in pieces of a minute is from encoding the whole, with random weights."""
    network = model.audio_encoder
    with torch.no_grad():
        features = network.features(sound[None])
        whole = network.encode(features)
        usual, wav2vec.PIECES["cuda"] = wav2vec.PIECES["cuda"], wav2vec.PIECES["cpu"]
        try:
            found = network.encode(features)
        finally:
            wav2vec.PIECES["cuda"] = usual
    return ((found - whole).abs().mean() / whole.std()).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(parser.parse_args().device)
    gpu = device.type == "cuda"
    machine = (
        torch.cuda.get_device_name() if gpu else f"{platform.machine()}, {os.cpu_count()} cores"
    )
    rows = []

    def row(what, value, unit, target=None, peer=None, peer_value=None) -> None:
        ratio = None if peer is None else peer_value / value
        names = ("what", "value", "unit", "target", "peer", "peer_value", "ratio", "machine")
        values = what, value, unit, target, peer, peer_value, ratio, machine
        numbers = (round(v, 4) if isinstance(v, float) else v for v in values)
        rows.append(dict(zip(names, numbers, strict=True)))
        beside = "" if peer is None else f"   {peer}: {peer_value:.3f}, ratio {ratio:.1f}"
        print(f"{what}: {value:.3f} {unit}{beside}", flush=True)

    state = random_state(talker_shapes(OPTIONS, BASE))
    model = build_model(read_settings(OPTIONS, "random"), state, "random").to(device)
    samples = {
        n: torch.randn(n * RATE, device=device) for n in ((SIXTY, 150, 600) if gpu else (10,))
    }
    for length, sound in samples.items():
        spent = seconds(lambda sound=sound: model.listen(sound), device)
        row(f"HuBERT, {length} s of speech", spent, "s")
    if gpu:
        row("its memory for 600 s", torch.cuda.max_memory_allocated() / 2**30, "GiB")
        row(
            "encoding in the CPU's pieces, mean difference over deviation",
            piece_difference(model, samples[150]),
            "",
        )
    steps, peer = (200 if gpu else 4), "plain eager decoder, ms"
    plain = peer_step(state, device, steps)
    fast = step_of(model, device, steps, 1, torch.float32)
    row("diffusion step, 3 entries", fast, "ms", plain / 8 if gpu else None, peer, plain)
    if gpu:
        half = step_of(model, device, steps, 1, torch.float16)
        row("diffusion step, fp16", half, "ms", None, peer, plain)
        for count in (15, 64):
            spent = step_of(model, device, 100, count, torch.float16)
            row(f"diffusion step, {count} sequences side by side, fp16", spent, "ms")
        for wanted, target in ((STEPS, 10), (50, 100)):
            for name, dtype in (("TF32", torch.float32), ("fp16", torch.float16)):

                def run(wanted=wanted, dtype=dtype) -> None:
                    audio, frames = model.listen(samples[SIXTY])
                    (take,) = takes(model, device, 1, 1)
                    take = Take(audio, frames, take.shape, take.style, take.noise)
                    sample(model, [take], Sampling(wanted, dtype=dtype))

                spent = seconds(run, device)
                what = f"60 s of speech, {wanted} steps, {name}, times real time"
                row(what, SIXTY / spent, "x", target)
    path = ROOT / "benchmarks/results" / f"speech_networks{'_gpu' if gpu else ''}.json"
    path.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
