"""Fuzzing of the pickle readers with tens of thousands of mutated files and random pickles."""

import pytest

from tests.unit.test_pickles import run_fuzz


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_mutated_and_random_pickles_give_values_or_errors(tmp_path, seed):
    run_fuzz(tmp_path, seed, count=8000, seconds=1200)
