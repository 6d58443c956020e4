"""Reading, computing and writing of a sequence at the same time, in order and in bounded memory."""

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
    """Yield (key, finish(key, computed)) for all keys, in their order.

    `load` and `finish` run on threads; `compute` runs on the caller's thread, over batches of
    consecutive keys, in order, so it may keep state. At most four batches are in memory.
    An exception of any of the three ends the iteration.

    Args:
        keys: what to work on.
        load: key -> input; called from several threads at once.
        compute: at most `batch` inputs -> as many results.
        finish: key and result -> what is yielded; called from several threads at once.
        batch: inputs per call of `compute`.
        threads: for `load` and `finish` together.
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
