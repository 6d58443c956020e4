"""The networks have the official files' keys and shapes, and take no others."""

import pickle
from pathlib import Path

import pytest
import torch

from headsplat.networks.arcface import ArcFace
from headsplat.networks.bisenet import BiSeNet
from headsplat.networks.checkpoints import load_strict, read_state
from headsplat.networks.mica import Mica, load_mica
from headsplat.networks.rvm import RobustVideoMatting, variant_of
from headsplat.networks.torch_archive import TorchArchive
from headsplat.runtime.errors import UserError


def layout(make) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in make().state_dict().items()}


def norm(prefix: str, channels: int) -> dict[str, tuple[int, ...]]:
    names = ("weight", "bias", "running_mean", "running_var")
    return {f"{prefix}.{n}": (channels,) for n in names} | {f"{prefix}.num_batches_tracked": ()}


def test_bisenet_is_79999_iter():
    found = layout(BiSeNet)
    assert len(found) == 191
    wanted = {
        "cp.resnet.conv1.weight": (64, 3, 7, 7),
        "cp.resnet.layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "cp.arm16.conv.conv.weight": (128, 256, 3, 3),
        "cp.arm32.conv.conv.weight": (128, 512, 3, 3),
        "cp.arm32.conv_atten.weight": (128, 128, 1, 1),
        "cp.conv_avg.conv.weight": (128, 512, 1, 1),
        "ffm.convblk.conv.weight": (256, 256, 1, 1),
        "ffm.conv1.weight": (64, 256, 1, 1),
        "ffm.conv2.weight": (256, 64, 1, 1),
        "conv_out.conv_out.weight": (19, 256, 1, 1),
        "conv_out16.conv_out.weight": (19, 64, 1, 1),
        "conv_out32.conv_out.weight": (19, 64, 1, 1),
    }
    for head in ("arm16", "arm32"):
        wanted |= norm(f"cp.{head}.bn_atten", 128) | norm(f"cp.{head}.conv.bn", 128)
    for head in ("conv_head16", "conv_head32", "conv_avg"):
        wanted |= norm(f"cp.{head}.bn", 128)
    planes = (64, 128, 256, 512)
    for number, width in enumerate(planes, 1):
        for block in (0, 1):
            for part in (1, 2):
                prefix = f"cp.resnet.layer{number}.{block}"
                before = planes[max(number - 2, 0)] if (block, part) == (0, 1) else width
                wanted[f"{prefix}.conv{part}.weight"] = (width, before, 3, 3)
                wanted |= norm(f"{prefix}.bn{part}", width)
    assert wanted.items() <= found.items()
    assert sum(torch.Size(s).numel() for s in found.values()) == 13_313_119


@pytest.mark.parametrize(("variant", "entries"), [("mobilenetv3", 380), ("resnet50", 390)])
def test_rvm_is_the_official_one(variant, entries):
    found = layout(lambda: RobustVideoMatting(variant))
    assert len(found) == entries
    assert variant_of(list(found)) == variant
    depth = {"mobilenetv3": (960, 128, 80, 40), "resnet50": (2048, 256, 128, 64)}[variant]
    wanted = {
        "aspp.aspp1.0.weight": (depth[1], depth[0], 1, 1),
        "aspp.aspp2.1.weight": (depth[1], depth[0], 1, 1),
        "decoder.decode4.gru.ih.0.weight": (depth[1], depth[1], 3, 3),
        "decoder.decode3.gru.hh.0.weight": (depth[2] // 2, depth[2], 3, 3),
        "decoder.decode0.conv.3.weight": (16, 16, 3, 3),
        "project_mat.conv.weight": (4, 16, 1, 1),
        "project_seg.conv.bias": (1,),
        "refiner.box_filter.weight": (4, 1, 3, 3),
        "refiner.conv.0.weight": (16, 24, 1, 1),
        "refiner.conv.6.bias": (4,),
    }
    wanted |= norm("decoder.decode2.conv.1", depth[3])
    if variant == "mobilenetv3":
        wanted |= {
            "backbone.features.0.0.weight": (16, 3, 3, 3),
            "backbone.features.1.block.0.0.weight": (16, 1, 3, 3),
            "backbone.features.4.block.2.fc1.weight": (24, 72, 1, 1),
            "backbone.features.13.block.1.0.weight": (672, 1, 5, 5),
            "backbone.features.16.0.weight": (960, 160, 1, 1),
        }
    else:
        wanted |= {
            "backbone.conv1.weight": (64, 3, 7, 7),
            "backbone.layer4.0.downsample.0.weight": (2048, 1024, 1, 1),
            "backbone.layer4.2.conv3.weight": (2048, 512, 1, 1),
        }
    assert wanted.items() <= found.items()


@pytest.mark.parametrize(
    ("variant", "channels"), [("mobilenetv3", (16, 20, 40, 64)), ("resnet50", (16, 32, 64, 128))]
)
def test_rvm_memory_has_the_official_shapes(variant, channels):
    with torch.device("meta"):
        network = RobustVideoMatting(variant).eval()
        states = (torch.zeros(1, 1, 1, 1),) * 4
        _, alpha, states = network(torch.zeros(2, 3, 540, 300), states, 0.5)
    assert alpha.shape == (2, 1, 540, 300)
    sizes = [(135, 75), (68, 38), (34, 19), (17, 10)]
    assert [tuple(s.shape) for s in states] == [
        (1, c, *size) for c, size in zip(channels, sizes, strict=True)
    ]


def test_mica_is_arcface_and_a_mapping():
    arcface, whole = layout(ArcFace), layout(Mica)
    assert len(arcface) == 925
    with torch.device("meta"):
        assert sum(p.numel() for p in ArcFace().parameters()) == 65_156_160
    wanted = {
        "conv1.weight": (64, 3, 3, 3),
        "prelu.weight": (64,),
        "layer3.29.prelu.weight": (256,),
        "layer1.0.downsample.0.weight": (64, 64, 1, 1),
        "fc.weight": (512, 25088),
        "fc.bias": (512,),
        **norm("features", 512),
        **norm("layer2.0.downsample.1", 128),
        **norm("bn2", 512),
    }
    assert wanted.items() <= arcface.items()
    mapping = {k: v for k, v in whole.items() if k.startswith("regressor.")}
    assert mapping == {
        **{f"regressor.network.{k}.weight": (300, 512 if k == 0 else 300) for k in range(4)},
        **{f"regressor.network.{k}.bias": (300,) for k in range(4)},
        "regressor.output.weight": (300, 300),
        "regressor.output.bias": (300,),
    }


def edit(state: dict, change: str) -> dict:
    state = dict(state)
    if change == "missing":
        del state["ffm.conv1.weight"]
    elif change == "unexpected":
        state["module.ffm.conv1.weight"] = state["ffm.conv1.weight"]
    elif change == "shape":
        state["ffm.conv1.weight"] = torch.zeros(32, 256, 1, 1)
    else:
        state["ffm.conv1.weight"] = torch.full((64, 256, 1, 1), float("nan"))
    return state


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("missing", "'ffm.conv1.weight' is missing"),
        ("unexpected", "'module.ffm.conv1.weight' is not one"),
        ("shape", r"'ffm.conv1.weight' has shape \[32, 256, 1, 1\], not \[64, 256, 1, 1\]"),
        ("nan", "'ffm.conv1.weight' holds NaN"),
    ],
)
def test_any_other_table_is_refused(bisenet, change, words):
    state = edit(bisenet[0].state_dict(), change)
    with pytest.raises(UserError, match=f"some.pth: .*{words}") as caught:
        load_strict(BiSeNet(), state, "some.pth")
    assert "\n" not in str(caught.value)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("touched-by-a-pickle"),))


@pytest.mark.parametrize("kind", ["evil", "truncated", "text", "list", "absent"])
def test_weight_files_that_are_none(tmp_path, monkeypatch, bisenet, kind):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    if kind == "evil":
        torch.save({"a": Evil()}, path)
    elif kind == "truncated":
        path.write_bytes(bisenet[1].read_bytes()[:1000])
    elif kind == "text":
        path.write_text("<!DOCTYPE html>")
    elif kind == "list":
        torch.save([torch.zeros(3)], path)
    with pytest.raises(UserError, match="weights.pth") as caught:
        read_state(path)
    assert "\n" not in str(caught.value)
    assert not Path("touched-by-a-pickle").exists()


def test_mica_reads_its_own_parts_alone(mica, monkeypatch):
    network, path = mica
    read: list[str] = []
    original = TorchArchive.read

    def remember(self, reference):
        read.append(reference.key)
        return original(self, reference)

    monkeypatch.setattr(TorchArchive, "read", remember)
    loaded = load_mica(path)
    with TorchArchive(path) as archive:
        flame = archive.table("flameModel")
        forbidden = {v.key for k, v in flame.items() if k.startswith("generator.")}
    assert len(forbidden) == 4
    assert not forbidden & set(read)
    assert len(read) == 935
    for key, value in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("no arcface", "'arcface' is missing"),
        ("no mapping", "'network.0.weight' is missing"),
        ("pickle", "not a whole torch archive"),
        ("truncated", "not a whole torch archive"),
    ],
)
def test_mica_files_that_are_none(tmp_path, mica, kind, words):
    path = tmp_path / "mica.tar"
    if kind == "no arcface":
        torch.save({"flameModel": {}}, path)
    elif kind == "no mapping":
        torch.save({"arcface": mica[0].arcface.state_dict(), "flameModel": {}}, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Evil()))
    else:
        path.write_bytes(mica[1].read_bytes()[: 1 << 20])
    with pytest.raises(UserError, match=f"mica.tar: .*{words}") as caught:
        load_mica(path)
    assert "\n" not in str(caught.value)


def test_the_archive_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weight = torch.arange(6.0).reshape(2, 3).T
    unwanted = [Evil(), torch.zeros(2, dtype=torch.complex64), torch.Size([2]), Path("a")]
    torch.save({"arcface": {"w": weight}, "x": unwanted}, "evil.tar")
    with TorchArchive("evil.tar") as archive:
        reference = archive.table("arcface")["w"]
        torch.testing.assert_close(archive.read(reference), torch.arange(6.0).reshape(2, 3).T)
    assert not Path("touched-by-a-pickle").exists()
