"""Profiling on a GPU: parts by kernel names, also within a CUDA graph; needs a GPU."""

import pytest
import torch

from headsplat.gaussians.raster.gaussians import InstanceBudget, rasterize_gaussians
from headsplat.runtime.cuda_graph import recorded
from headsplat.train.profile import REST, WALL, profile_steps
from tests.oracles.gaussian_check import ORDER
from tests.oracles.gaussian_scenes import scene

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_graph_replays_are_attributed_to_parts(tmp_path):
    device = torch.device("cuda")
    inputs = scene(44, batch=4, count=5000, width=256, height=256)
    inputs = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
    inputs["means"] = inputs["means"].clone().requires_grad_()
    optimizer = torch.optim.Adam([inputs["means"]], lr=1e-6, fused=True, capturable=True)
    budget = InstanceBudget(300000, device)

    def step():
        optimizer.zero_grad(set_to_none=False)
        color, _ = rasterize_gaussians(*(inputs[name] for name in ORDER), budget=budget)
        (color.flatten(0, 2).T @ color.flatten(0, 2)).sum().backward()
        optimizer.step()

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
        with recorded(stream) as graph:
            step()
        parts = profile_steps(graph.replay, 12, device, tmp_path / "trace.json.gz")
        # The graph remains usable after profiling, and a second profile works.
        again = profile_steps(graph.replay, 12, device, tmp_path / "trace.json.gz")
    torch.cuda.synchronize()
    assert (tmp_path / "trace.json.gz").stat().st_size > 0
    for found in (parts, again):
        for part in ("rasterizer, forward", "rasterizer, backward", "optimizer", REST):
            assert found[part] > 0, (part, found)
        assert found["matrix products and convolutions"] > 0
        assert sum(v for k, v in found.items() if k != WALL) == pytest.approx(found[WALL], rel=0.05)
