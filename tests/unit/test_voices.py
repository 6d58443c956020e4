"""The table of voices: what it names exists, and reading it imports no torch."""

import subprocess
import sys

import pytest

from headsplat_workflow.assets.catalogue import CATALOGUE
from headsplat_workflow.sections import defaults

from headsplat.drive.kinds import AUTO
from headsplat.heads.registry import HEADS
from headsplat.options import read_options, schema_of
from headsplat.runtime.errors import UserError
from headsplat.speech.voices import VOICES, all_options, chosen_voice, own_options, why_chosen
from tests.unit.pages import ROOT


@pytest.mark.parametrize("name", VOICES)
def test_a_voice_names_what_exists(name):
    voice = VOICES[name]
    assert callable(voice.load())
    assert set(voice.assets + voice.optional) <= set(CATALOGUE)
    assert voice.heads is None or set(voice.heads) <= set(HEADS)
    for option in schema_of(read_options(voice.module)).values():
        assert option["description"]


def test_reading_the_table_imports_no_torch():
    code = "import sys, headsplat.speech.voices; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_configuration_has_the_options_of_all_voices():
    assert defaults()["speech"] == {k: v["default"] for k, v in all_options().items()}
    assert list(own_options("audio2face")) == ["emotion", "emotion_strength"]
    assert own_options("personal") == {}


@pytest.mark.parametrize(
    ("head", "found", "expected", "reason"),
    [
        ("flame", {"diffposetalk", "lam"}, "diffposetalk", "whose files are there"),
        ("ict", {"diffposetalk", "lam"}, "lam", "whose files are there"),
        ("ict", {"diffposetalk"}, "personal", "no network that serves this head"),
    ],
)
def test_auto_takes_the_first_that_fits_and_says_why(head, found, expected, reason):
    assert chosen_voice(AUTO, head, found) == expected
    assert reason in why_chosen(AUTO, expected)
    assert why_chosen("anna", "personal") == "asked for: anna"


def test_a_voice_that_does_not_serve_the_head_is_one_line():
    with pytest.raises(UserError, match="serves the head flame, this subject's is ict; use auto"):
        chosen_voice("diffposetalk", "ict", ())
