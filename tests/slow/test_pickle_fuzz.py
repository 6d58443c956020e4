"""Mutants of model files, and random pickles, by the ten thousand."""

import pytest

from tests.unit.test_pickles import run_fuzz


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_many_mutants_and_random_programs_give_values_or_errors(tmp_path, seed):
    run_fuzz(tmp_path, seed, count=8000, seconds=1200)
