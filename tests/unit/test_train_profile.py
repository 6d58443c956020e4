"""Profiling of training steps: real steps on the CPU, and a recorded GPU trace."""

import gzip
import json
import re
import time

import pytest
import torch

from headsplat.gaussians.raster import library
from headsplat.gaussians.raster.gaussians import rasterize_gaussians
from headsplat.train import profile
from headsplat.train.profile import REST, WALL, part_of, parts_of, profile_steps
from tests.oracles.gaussian_check import ORDER
from tests.oracles.gaussian_scenes import scene

CPU = torch.device("cpu")


def event(name, start, length, kind="kernel", thread=7):
    return {"ph": "X", "cat": kind, "name": name, "ts": start, "dur": length, "tid": thread}


def test_a_training_step_on_the_cpu(tmp_path):
    inputs = scene(3, batch=2, count=3000, width=96, height=96)
    inputs["means"] = inputs["means"].clone().requires_grad_()
    optimizer = torch.optim.Adam([inputs["means"]], lr=1e-6, fused=True)
    calls = []

    def step():
        calls.append(1)
        color, _ = rasterize_gaussians(*(inputs[name] for name in ORDER))
        (color.flatten(0, 2).T @ color.flatten(0, 2)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    start = time.perf_counter()
    parts = profile_steps(step, 5, CPU, tmp_path / "trace.json.gz")
    elapsed = 1e6 * (time.perf_counter() - start)
    assert len(calls) == 5
    *order, last = parts
    assert last == WALL
    assert order == sorted(order, key=lambda part: -parts[part])
    expected = {
        "rasterizer, forward", "rasterizer, backward", "optimizer",
        "matrix products and convolutions", REST, "between operators",
    }  # fmt: skip
    assert set(order) - {"copies and fills"} == expected
    # Four recorded steps; the parts sum to their time.
    assert parts[WALL] * 4 < elapsed
    assert sum(parts[part] for part in order) == pytest.approx(parts[WALL], rel=0.02)
    raster = parts["rasterizer, forward"] + parts["rasterizer, backward"]
    assert raster > parts["optimizer"]
    with gzip.open(tmp_path / "trace.json.gz", "rt") as handle:
        names = [e["name"] for e in json.load(handle)["traceEvents"]]
    assert names.count("headsplat::rasterize_gaussians_backward") == 5
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json.gz"]


@pytest.mark.parametrize(("count", "recorded"), [(1, 1), (2, 1), (9, 4)])
def test_memory_is_bounded(monkeypatch, tmp_path, count, recorded):
    monkeypatch.setattr(profile, "MOST_STEPS", 4)
    calls = []
    value = torch.ones(8)

    def step():
        calls.append(1)
        torch.linalg.vector_norm(value)

    parts = profile_steps(step, count, CPU, tmp_path / "trace.json.gz")
    assert len(calls) == count
    assert parts[WALL] > 0
    with gzip.open(tmp_path / "trace.json.gz", "rt") as handle:
        names = [e["name"] for e in json.load(handle)["traceEvents"]]
    warm = min(count - recorded, 1)
    assert names.count("aten::linalg_vector_norm") == recorded + warm


def test_gpu_time_is_the_sum_of_kernels():
    events = [
        event("headsplat: profiled steps", 100, 1000, "user_annotation"),
        event("headsplat::(anonymous namespace)::draw_tiles(GaussianTask, Lists)", 50, 40),
        event("aten::mm", 100, 900, "cpu_op"),
        event("cudaGraphLaunch", 101, 5, "cuda_runtime"),
        event("headsplat::(anonymous namespace)::draw_tiles(GaussianTask, Lists)", 110, 200),
        event("headsplat::(anonymous namespace)::undraw_strips(GaussianTask)", 310, 300),
        event("void at::native::vectorized_elementwise_kernel<4, float>", 610, 60),
        event("Memcpy DtoD (Device -> Device)", 650, 40, "gpu_memcpy", thread=8),
        event("Memset (Device)", 700, 10, "gpu_memset"),
        event("nvjet_sm90_hsh_128x32_64x8_2x1_v_bz_TNT", 710, 90),
        {"ph": "M", "name": "process_name", "args": {}},
    ]
    parts = parts_of(events, "cuda", 2, 500.0)
    assert parts == {
        "rasterizer, backward": 150.0,
        "idle": 160.0,  # 500 less half of the 680 microseconds in which anything ran
        "rasterizer, forward": 100.0,
        "matrix products and convolutions": 45.0,
        REST: 30.0,
        "copies and fills": 25.0,
    }
    assert list(parts.values()) == sorted(parts.values(), reverse=True)


def test_cpu_time_is_self_time():
    events = [
        event("autograd::engine::evaluate_function: MmBackward0", 0, 100, "cpu_op"),
        event("aten::mm", 10, 80, "cpu_op"),
        event("aten::copy_", 20, 30, "cpu_op"),
        event("aten::relu", 100, 10, "cpu_op"),
        event("headsplat::image_loss_backward", 0, 70, "cpu_op", thread=8),
    ]
    assert parts_of(events, "cpu", 1, 120.0) == {
        "image loss": 70.0,
        "matrix products and convolutions": 50.0,
        REST: 30.0,
        "copies and fills": 30.0,
        "between operators": 10.0,
    }


def test_a_trace_without_device_events_has_no_parts():
    assert parts_of([event("aten::mm", 0, 10, "cpu_op")], "cuda", 1, 10.0) == {}
    assert parts_of([], "cpu", 1, 10.0) == {}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        (
            "void (anonymous namespace)::multi_tensor_apply_kernel<FusedAdamMathFunctor>",
            "optimizer",
        ),
        ("aten::_fused_adam_", "optimizer"),
        ("void cutlass::Kernel2<cutlass_80_wmma_tensorop_h16816>", "matrix products"),
        ("sm80_xmma_fprop_implicit_gemm_f16f16", "matrix products"),
        ("void cublasLt::splitKreduce_kernel<32, 16>", "matrix products"),
        ("void gemv2T_kernel_val<int, float>", "matrix products"),
        ("aten::mkldnn_convolution", "matrix products"),
        ("aten::convolution_backward", "matrix products"),
        ("aten::addmm", "matrix products"),
        ("aten::fill_", "copies and fills"),
        ("headsplat::rasterize_gaussians", "rasterizer, forward"),
        ("headsplat::rasterize_gaussians_backward", "rasterizer, backward"),
        ("void at::native::index_elementwise_kernel<128, 4>", REST),
        ("void at::native::elementwise_kernel<direct_copy_kernel_cuda>", REST),
        ("aten::addcmul", REST),
    ],
)
def test_names_map_to_parts(name, part):
    assert part_of(name).startswith(part)


def test_every_kernel_of_a_step_has_its_part():
    sources = (library.ROOT / "cuda_ext/csrc").glob("*.cu")
    text = "".join(path.read_text() for path in sources if path.name != "triangles_cuda.cu")
    kernels = re.findall(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(", text)
    assert len(kernels) == text.count("__global__ ")
    assert not [name for name in kernels if part_of(name) == REST]


@pytest.mark.parametrize("where", ["start", "stop", "export_chrome_trace"])
def test_a_failing_profiler_loses_only_the_parts(monkeypatch, tmp_path, caplog, where):
    def fail(*_):
        raise RuntimeError("CUPTI says no\nat length")

    monkeypatch.setattr(torch.profiler.profile, where, fail)
    calls = []
    parts = profile_steps(lambda: calls.append(1), 3, CPU, tmp_path / "trace.json.gz")
    assert len(calls) == 3
    assert list(parts) == [WALL]
    assert "no record of the steps (CUPTI says no)" in caplog.text
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    assert len(profile_steps(lambda: torch.ones(3) + 1, 2, CPU, tmp_path / "trace.json.gz")) > 1


def test_a_steps_own_error_passes_through(tmp_path):
    def step():
        raise ValueError("frames 3, 4")

    with pytest.raises(ValueError, match="frames 3, 4"):
        profile_steps(step, 3, CPU, tmp_path / "trace.json.gz")
    # The profiler was stopped: another can start.
    parts = profile_steps(lambda: torch.ones(3) + 1, 2, CPU, tmp_path / "trace.json.gz")
    assert REST in parts
