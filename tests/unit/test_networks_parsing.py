"""Face parsing inference: torch and ONNX agree, at any image size."""

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from benchmarks.network_files import write_bisenet_onnx
from headsplat.frames.images import decode_image, encode_jpeg
from headsplat.frames.packs import FrameStore, FrameZipWriter
from headsplat.masks.labels import BISENET, masks_from_labels
from headsplat.masks.parse_network import parse_chunk_by_network
from headsplat.networks.face_parsers import (
    OnnxParser,
    TorchParser,
    labels_from_scores,
    open_parser,
    preprocess,
)
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish

from .mask_geometry import write_geometry
from .test_networks_rvm import random_images


def test_the_image_is_prepared_as_the_original_does_it():
    images = random_images(1, 96, 128)
    found = preprocess(images, torch.float32)[0].permute(1, 2, 0).numpy()
    small = Image.fromarray(images[0].numpy()).resize((512, 512), Image.BILINEAR)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (np.asarray(small) / 255 - mean) / deviation
    assert np.abs(found - expected).max() < 1.01 / 255 / 0.224
    assert np.abs(found - expected).mean() < 0.3 / 255 / 0.224


def test_labels_return_to_the_image_by_nearest_neighbors():
    scores = torch.zeros(1, 19, 512, 512)
    scores[:, 10, :, :256] = 1
    scores[:, 16, :, 256:] = 1
    labels = labels_from_scores(scores, 128, 100)
    assert labels.shape == (1, 128, 100)
    assert labels.dtype == torch.uint8
    assert (labels[..., :50] == 10).all()
    assert (labels[..., 50:] == 16).all()
    neckhead, mouth = masks_from_labels(labels[0].numpy(), BISENET)
    assert (neckhead[:, :50] == 255).all()  # 10 is the nose here
    assert (neckhead[:, 50:] == 0).all()  # 16 is clothes
    assert (mouth == 0).all()


def test_both_engines_agree(bisenet):
    network, weights, export = bisenet
    images = random_images(2, 256, 256, seed=3)
    labels = TorchParser(weights).labels(images)
    assert labels.shape == (2, 256, 256)
    assert len(labels.unique()) > 3
    with torch.no_grad():
        expected = labels_from_scores(network(preprocess(images, torch.float32))[0], 256, 256)
    assert (labels == expected).float().mean() > 0.999
    assert (OnnxParser(export).labels(images) == expected).float().mean() > 0.999


def test_onnx_exports_with_other_names_and_three_outputs(bisenet, tmp_path):
    path = tmp_path / "face_parsing.onnx"
    write_bisenet_onnx(path, bisenet[0], ("input_0", "output_0", "aux16", "aux32"), batch=None)
    parser = open_parser(path, torch.device("cpu"), None)
    assert parser.batch == 4
    images = random_images(2, 512, 512, seed=4)
    same = parser.labels(images) == TorchParser(bisenet[1]).labels(images)
    assert same.float().mean() > 0.999


def two_inputs(graph):
    extra = onnx.helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, [1])
    graph.input.append(extra)


def other_size(graph):
    for node, axes in ((graph.input[0], (2, 3)), (graph.output[0], (2, 3))):
        for axis in axes:
            node.type.tensor_type.shape.dim[axis].dim_value = 448


@pytest.mark.parametrize("change", [two_inputs, other_size])
def test_other_exports_are_one_line(bisenet, tmp_path, change):
    path = tmp_path / "other.onnx"
    model = onnx.load(str(bisenet[2]))
    change(model.graph)
    onnx.save(model, str(path))
    with pytest.raises(UserError, match="other.onnx: .*(512|cannot open)") as caught:
        OnnxParser(path)
    assert "\n" not in str(caught.value)


def test_rvm_file_is_refused_as_a_parser(rvm):
    with pytest.raises(UserError, match="a face parser takes"):
        OnnxParser(rvm.onnx)
    with pytest.raises(UserError, match="is missing"):
        TorchParser(rvm.pth)


def test_a_chunk_becomes_masks(bisenet, tmp_path):
    images = random_images(5, 64, 64, seed=5).numpy()
    with publish(tmp_path / "003.zip") as path, FrameZipWriter(path, ".jpg") as pack:
        for k, image in enumerate(images, 7):
            pack.add(k, encode_jpeg(image))
    geometry = [tmp_path / name for name in ("head.npz", "track.npz", "cut.npz")]
    write_geometry(*geometry, ids=range(7, 12), side=64)
    parse_chunk_by_network(tmp_path / "003.zip", bisenet[1], *geometry, tmp_path / "out.zip")
    parser = TorchParser(bisenet[1])
    with FrameStore([tmp_path / "003.zip"]) as frames, FrameStore([tmp_path / "out.zip"]) as store:
        assert store.ids == list(range(7, 12))
        for k in store.ids:
            labels = parser.labels(torch.from_numpy(decode_image(frames.read(k)))[None])[0].numpy()
            neckhead, mouth = masks_from_labels(labels, BISENET)
            assert (decode_image(store.read(k, "_mouth")) == mouth).mean() > 0.999
            found = decode_image(store.read(k, "_neckhead"))
            # The cut's line is row 32: it alone divides neck and clothes, the network all else.
            below = np.isin(labels, [BISENET.index(n) for n in ("neck", "necklace", "cloth")])
            rows = np.broadcast_to(np.arange(64)[:, None], labels.shape)
            far = below & (np.abs(rows - 31.5) > 3)
            assert below.any()
            assert ((found == 255) == (rows < 32))[far].mean() > 0.999
            assert (found == neckhead)[~below].mean() > 0.999
