"""Overlapped work keeps order, batches and errors."""

import threading

import pytest

from headsplat.runtime.overlap import overlapped


def test_order_batches_and_state():
    sizes: list[int] = []
    total = 0

    def compute(values: list[int]) -> list[int]:
        nonlocal total
        sizes.append(len(values))
        sums = []
        for value in values:
            total += value
            sums.append(total)
        return sums

    found = list(overlapped(range(1, 12), lambda k: 10 * k, compute, lambda k, v: v + k, 4, 3))
    assert sizes == [4, 4, 3]
    assert found == [(k, 10 * k * (k + 1) // 2 + k) for k in range(1, 12)]
    assert list(overlapped([], str, list, lambda k, v: v, 4, 2)) == []


def test_little_is_in_memory_at_a_time():
    lock, loaded = threading.Lock(), set()

    def load(k: int) -> int:
        with lock:
            loaded.add(k)
        return k

    most = 0
    for key, _ in overlapped(range(200), load, list, lambda k, v: v, 8, 2):
        most = max(most, len(loaded) - key)
    assert most <= 4 * 8


@pytest.mark.parametrize("where", ["load", "compute", "finish"])
def test_an_error_ends_it(where):
    def fail(name: str, value):
        if name == where:
            raise ValueError(name)
        return value

    work = overlapped(
        range(100),
        lambda k: fail("load", k),
        lambda values: fail("compute", values),
        lambda k, v: fail("finish", v),
        8,
        2,
    )
    with pytest.raises(ValueError, match=where):
        list(work)
