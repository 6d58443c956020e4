"""The library in use holds code for the GPU architectures that it was compiled for."""

from pathlib import Path

import pytest
import torch

from headsplat.gaussians.raster import extension
from tests.fatbins import targets_in

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_the_library_serves_this_gpu_by_code_of_its_own():
    facts = extension.load()
    assert facts["cuda"]
    toolchain = extension._toolchain()
    library = Path(facts["library"])
    if facts["key"] is None:
        import headsplat_cuda_ext

        noted = headsplat_cuda_ext.TARGETS
    else:
        noted = toolchain.targets_of(library)
    assert targets_in(library) == set(noted)
    assert all(toolchain.architectures.serve(noted, gpu) for gpu in extension._gpus())
