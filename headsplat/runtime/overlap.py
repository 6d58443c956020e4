"""Threaded pipeline: load, compute and encode a sequence concurrently, in order, in batches."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Key = TypeVar("Key")
Loaded = TypeVar("Loaded")
Computed = TypeVar("Computed")
Finished = TypeVar("Finished")


def overlapped(
    keys: Sequence[Key],
    load: Callable[[Key], Loaded],
    compute: Callable[[list[Loaded]], Sequence[Computed]],
    finish: Callable[[Key, Computed], Finished],
    batch: int,
    threads: int,
) -> Iterator[tuple[Key, Finished]]:
    """Yield (key, finish(key, computed)) for all keys, in order.

    `load` and `finish` run on a thread pool. `compute` runs on the caller's thread, on batches of
    consecutive keys in order, so it may keep state. At most four batches are in memory. An
    exception in any of the three ends the iteration.

    Args:
        keys: keys of the items.
        load: key -> input; must be thread-safe.
        compute: at most `batch` inputs -> as many results.
        finish: key and result -> the yielded value; must be thread-safe.
        batch: inputs per call of `compute`.
        threads: number of threads for `load` and `finish` together.
    """
    batches = [keys[k : k + batch] for k in range(0, len(keys), batch)]
    with ThreadPoolExecutor(threads) as pool:
        loading: deque[list[Future[Loaded]]] = deque()
        finishing: deque[tuple[Key, Future[Finished]]] = deque()
        ahead = iter(batches)
        try:
            for group in batches:
                while len(loading) < 2 and (following := next(ahead, None)) is not None:
                    loading.append([pool.submit(load, key) for key in following])
                results = compute([future.result() for future in loading.popleft()])
                for key, result in zip(group, results, strict=True):
                    finishing.append((key, pool.submit(finish, key, result)))
                while len(finishing) > batch:
                    key, future = finishing.popleft()
                    yield key, future.result()
            while finishing:
                key, future = finishing.popleft()
                yield key, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
