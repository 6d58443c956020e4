"""Parallel batches of many small matrices: threads on the CPU, one batch on a GPU."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from headsplat.runtime.heartbeat import beat
from headsplat.runtime.process import available_threads

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_threads(work: Callable[[Item], Result], items: list[Item], cuda: bool) -> Iterator[Result]:
    """Yield the results of `work` in order, on one thread per item.

    The matrices are too small for parallel kernels, whose idle threads starve on a busy machine.
    """
    threads = min(available_threads(), len(items))
    if cuda or threads == 1:
        yield from _beating(map(work, items), len(items))
        return
    with ThreadPoolExecutor(threads, initializer=_one_thread) as pool:
        yield from _beating(pool.map(work, items), len(items))


def _beating(results: Iterator[Result], total: int) -> Iterator[Result]:
    for done, result in enumerate(results, 1):
        beat("batches of frames", done, total)
        yield result


def thread_slices(count: int, cuda: bool) -> list[slice]:
    """Slices of `count` rows, one per thread; a single one on a GPU."""
    parts = 1 if cuda else max(1, min(available_threads(), count))
    bounds = [count * k // parts for k in range(parts + 1)]
    return [slice(a, b) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


def _one_thread() -> None:
    torch.set_num_threads(1)
