"""Which GPU a network job computes on."""

import torch


def shared_gpu(turn: int) -> tuple[torch.device, int]:
    """Device of torch, and number of the GPU for ONNX Runtime, for job number `turn`.

    Inference takes about a gigabyte of a GPU and seconds of it, so jobs take turns over the
    GPUs and claim none, where training claims one for itself (`headsplat.runtime.gpu`).
    """
    count = torch.cuda.device_count()
    if count == 0:
        return torch.device("cpu"), 0
    return torch.device("cuda", turn % count), turn % count
