"""RVM inference: torch and ONNX agree; recurrent states are passed on and reset at shot changes."""

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from benchmarks.network_files import write_rvm_onnx
from headsplat.frames.images import decode_image, encode_jpeg
from headsplat.frames.packs import FrameStore, FrameZipWriter
from headsplat.masks.matte import matte_chunk
from headsplat.masks.rvm_matting import RvmMatting, ShotChangeDetector, remove_bystanders
from headsplat.networks.rvm import _resize_like
from headsplat.networks.rvm_inference import OnnxMatting, TorchMatting, open_rvm, working_ratio
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish


def random_images(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """(count, height, width, 3) uint8: a smooth scene that moves slowly."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 8, 8 + count, generator=generator) * 255
    frames = [
        functional.interpolate(coarse[..., k : k + 8], (height, width), mode="bicubic")
        for k in range(count)
    ]
    return torch.cat(frames).clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8).contiguous()


def refined(network, images: torch.Tensor) -> torch.Tensor:
    """Reference for the ONNX graph: the torch module with the refiner always on."""
    full = images.permute(0, 3, 1, 2) / 255
    ratio = working_ratio(*full.shape[2:])
    small = functional.interpolate(
        full, scale_factor=ratio, mode="bilinear", align_corners=False, recompute_scale_factor=False
    )
    states = (torch.zeros(1, 1, 1, 1),) * 4
    with torch.no_grad():
        alpha = network.run(full, small, states, _resize_like)[1]
    return (alpha[:, 0] * 255).round()


@pytest.mark.parametrize(
    ("size", "ratio"),
    [((512, 512), 1), ((720, 1280), 0.4), ((1080, 1920), 512 / 1920), ((300, 200), 1),
     ((128, 96), 2), ((256, 100), 1)],
)  # fmt: skip
def test_the_working_size_lies_between_256_and_512(size, ratio):
    assert working_ratio(*size) == pytest.approx(ratio)
    assert 256 <= round(max(size) * working_ratio(*size)) <= 512


@pytest.mark.parametrize("size", [(96, 128), (260, 300)])
def test_the_onnx_engine_computes_what_the_module_does(rvm, size):
    images = random_images(4, *size)
    alphas = OnnxMatting(rvm.onnx).alphas(images).float()
    expected = refined(rvm.network, images)
    assert alphas.std() > 5
    assert (alphas - expected).abs().max() <= 1


def test_half_precision_is_close(rvm):
    images = random_images(3, 96, 96)
    half, full = OnnxMatting(rvm.half).alphas(images), OnnxMatting(rvm.onnx).alphas(images)
    assert (half.float() - full.float()).abs().mean() < 3


@pytest.mark.parametrize("kind", ["onnx", "pth"])
def test_states_are_passed_on_in_order_and_reset(rvm, kind):
    engine = open_rvm(getattr(rvm, kind), torch.device("cpu"), None)
    assert isinstance(engine, OnnxMatting if kind == "onnx" else TorchMatting)
    images = random_images(5, 96, 96)
    whole = engine.alphas(images)
    carried_on = engine.alphas(images)
    engine.reset()
    parts = torch.cat([engine.alphas(images[:2]), engine.alphas(images[2:3])])
    parts = torch.cat([parts, engine.alphas(images[3:])])
    assert (whole.int() - parts.int()).abs().max() <= 1
    assert (whole.int() - carried_on.int()).abs().max() > 2, "the memory makes no difference"
    backwards = engine.alphas(images.flip(0)).flip(0)
    assert (whole.int() - backwards.int()).abs().max() > 2


def test_both_engines_agree(rvm):
    # Not ratio 1, at which only torch skips the refiner.
    images = random_images(3, 128, 160)
    apart = OnnxMatting(rvm.onnx).alphas(images).int() - TorchMatting(rvm.pth).alphas(images).int()
    assert apart.abs().max() <= 1


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("input", "r1i", "r2i", "r3i", "r4i", "downsample_ratio"), "inputs are named input, r1i"),
        (("src", "r1", "r2", "r3", "r4", "ratio"), "not src, r1i, r2i, r3i, r4i, downsample_ratio"),
    ],
)
def test_other_input_names_are_one_line(rvm, tmp_path, names, words):
    path = tmp_path / "renamed.onnx"
    write_rvm_onnx(path, rvm.network, names=names)
    with pytest.raises(UserError, match=f"renamed.onnx: .*{words}") as caught:
        OnnxMatting(path)
    assert "\n" not in str(caught.value)


def edited(source, target, change) -> None:
    model = onnx.load(str(source))
    change(model.graph)
    onnx.save(model, str(target))


def drop_output(graph):
    graph.output.pop(1)


def other_shape(graph):
    graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4


def mixed_types(graph):
    graph.output[2].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop_output, "lack 'pha'"),
        (other_shape, "cannot open|'src' has shape"),
        (mixed_types, "cannot open|types are"),
    ],
)
def test_other_signatures_are_one_line(rvm, tmp_path, change, words):
    path = tmp_path / "other.onnx"
    edited(rvm.onnx, path, change)
    with pytest.raises(UserError, match=f"other.onnx: .*({words})") as caught:
        OnnxMatting(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", None])
def test_invalid_onnx_files_are_refused(tmp_path, content):
    path = tmp_path / "rvm.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="rvm.onnx"):
        OnnxMatting(path)


class Recorder:
    """An engine that records its calls."""

    batch = 8

    def __init__(self) -> None:
        self.events: list[object] = []

    def alphas(self, images: torch.Tensor) -> torch.Tensor:
        self.events.append(images[:, 0, 0, 0].tolist())
        return images[..., 0]

    def reset(self) -> None:
        self.events.append("reset")


def shades(*values: int, side: int = 64) -> list[np.ndarray]:
    return [np.full((side, side, 3), value, np.uint8) for value in values]


def test_states_are_reset_only_at_shot_changes_and_new_sizes():
    engine = Recorder()
    network = RvmMatting(engine)
    begun = network.begin(shades(10, 12, 200, 201))
    assert [int(network.finish(row)[0, 0]) for row in begun] == [10, 12, 200, 201]
    network.begin(shades(203, 90))
    network.begin(shades(91, side=32))
    assert engine.events == [
        [10, 12], "reset", [200, 201], [203], "reset", [90], "reset", [91]
    ]  # fmt: skip


def test_motion_is_not_a_shot_change():
    noise = np.random.default_rng(0).integers(0, 256, (12, 12, 3)).astype(np.float32)
    scene = functional.interpolate(
        torch.from_numpy(noise).permute(2, 0, 1)[None], (480, 480), mode="bicubic"
    )[0].clamp(0, 255).permute(1, 2, 0).numpy().astype(np.uint8)  # fmt: skip
    is_cut = ShotChangeDetector()
    assert not any(is_cut(scene[:, 4 * k : 4 * k + 256]) for k in range(20))
    assert is_cut(255 - scene[:, 80:336])


def test_bystanders_are_removed_and_strands_of_hair_kept():
    matte = np.zeros((256, 256), np.uint8)
    matte[60:256, 80:180] = 255
    matte[40:43, 120:122] = 90  # a strand
    matte[100:200, 0:30] = 255  # a bystander, with a soft edge
    matte[100:200, 30:33] = 20
    matte[60:62, 181] = 20  # the subject's own soft edge
    kept = remove_bystanders(matte)
    assert (kept[:, :40] == 0).all()
    np.testing.assert_array_equal(kept[:, 60:], matte[:, 60:])


def test_chunks_are_continuous_after_warm_up(rvm, tmp_path, monkeypatch):
    scene = random_images(1, 64, 96)[0].numpy()
    images = [np.ascontiguousarray(scene[:, k : k + 64]) for k in range(16)]
    for name, ids in (("whole/000", range(16)), ("a/000", range(12)), ("a/001", range(12, 16))):
        with publish(tmp_path / f"{name}.zip") as path, FrameZipWriter(path, ".jpg") as pack:
            for k in ids:
                pack.add(k + 1, encode_jpeg(images[k]))
    options = {"model": "auto", "edge_radius": 8.0, "temporal_window": 4, "weights": rvm.onnx}
    matte_chunk([tmp_path / "whole/000.zip"], "000", tmp_path / "whole.zip", **options)
    apart = {}
    for warm_up in (0, 10):
        monkeypatch.setattr(RvmMatting, "warm_up", warm_up)
        parts = [tmp_path / "a/000.zip", tmp_path / "a/001.zip"]
        matte_chunk(parts, "001", tmp_path / "second.zip", **options)
        with (
            FrameStore([tmp_path / "whole.zip"]) as whole,
            FrameStore([tmp_path / "second.zip"]) as second,
        ):
            assert second.ids == [13, 14, 15, 16]
            pairs = [(decode_image(s.read(13)).astype(int)) for s in (whole, second)]
        assert pairs[0].shape == (64, 64)
        apart[warm_up] = np.abs(pairs[0] - pairs[1]).mean()
    assert apart[10] < 0.1 * apart[0]
