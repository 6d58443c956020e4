"""Command line arguments of stages with unusual values."""

import argparse

import pytest

from headsplat_workflow.arguments import argument, arguments

VALUES = ["-x", "--out=y", "a b", "", "$(touch x)", "don't", "a=b", "1,2", "new\nline"]


@pytest.mark.parametrize("value", [value for value in VALUES if value])
def test_a_value_is_never_taken_for_a_flag(value):
    parser = argparse.ArgumentParser()
    parser.add_argument("--some-file")
    parser.add_argument("--out")
    args = parser.parse_args(arguments({"some_file": value}))
    assert (args.some_file, args.out) == (value, None)


def test_what_is_not_there_is_no_argument():
    assert [argument("a", value) for value in (None, "", [])] == [[], [], []]
    assert argument("a", ["file"]) == ["--a=file"]
    assert arguments({"lpips_weight": 0, "model": None, "neck_turn": 0.5}) == [
        "--lpips-weight=0",
        "--neck-turn=0.5",
    ]
    with pytest.raises(ValueError, match="takes one value"):
        argument("a", ["one", "two"])
