"""Networks in half precision on a GPU agree with the CPU."""

import pytest
import torch

from benchmarks.network_files import random_bisenet, random_rvm
from headsplat.networks.face_parsers import TorchParser
from headsplat.networks.rvm_inference import TorchMatting
from headsplat.networks.transfer import Download

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def random_images(count: int, size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, 8, 8 + count, generator=generator) * 255
    frames = [
        torch.nn.functional.interpolate(coarse[..., k : k + 8], (size, size), mode="bicubic")
        for k in range(count)
    ]
    return torch.cat(frames).clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8).contiguous()


@pytest.mark.parametrize("variant", ["mobilenetv3", "resnet50"])
@pytest.mark.parametrize("size", [256, 640])
def test_matting_matches_the_cpu(tmp_path, variant, size):
    path = tmp_path / "rvm.pth"
    torch.save(random_rvm(variant).state_dict(), path)
    images = random_images(6, size)
    here, there = TorchMatting(path), TorchMatting(path, "cuda")
    found = torch.cat([there.alphas(images[:4]), there.alphas(images[4:])]).cpu().float()
    expected = here.alphas(images).float()
    assert expected.std() > 5
    assert (found - expected).abs().mean() < 2


def test_recorded_batches_keep_the_recurrent_state(tmp_path):
    path = tmp_path / "rvm.pth"
    torch.save(random_rvm("mobilenetv3").state_dict(), path)
    images = random_images(40, 128)
    engine = TorchMatting(path, "cuda")
    batch = engine.batch
    assert 2 * batch < len(images)
    whole = torch.cat([engine.alphas(part) for part in images.split(batch)]).cpu().int()
    engine.reset()
    again = torch.cat([engine.alphas(part) for part in images.split(batch)]).cpu().int()
    assert (again - whole).abs().max() <= 1
    engine.reset()
    eager = torch.cat([engine.alphas(part) for part in images.split(batch - 1)]).cpu().int()
    assert (eager - whole).abs().float().mean() < 0.5
    engine.reset()
    forgetful = engine.alphas(images[batch : 2 * batch]).cpu().int()
    assert (forgetful - whole[batch : 2 * batch]).abs().float().mean() > 1
    other = engine.alphas(random_images(batch, 160))  # another size needs a new recording
    assert other.shape == (batch, 160, 160)


def test_downloads_are_complete():
    values = torch.arange(6 * 512 * 512, device="cuda").reshape(6, 512, 512)
    rows = Download(values).rows()
    assert len(rows) == 6
    assert all(
        (torch.from_numpy(row.array()) == values[k].cpu()).all() for k, row in enumerate(rows)
    )


def test_parsing_matches_the_cpu(tmp_path):
    path = tmp_path / "bisenet.pth"
    torch.save(random_bisenet().state_dict(), path)
    images = random_images(3, 400)
    found = TorchParser(path, "cuda").labels(images).cpu()
    assert (found == TorchParser(path).labels(images)).float().mean() > 0.99
