"""The table of voices: what it names exists, and reading it imports no torch."""

import subprocess
import sys

import pytest

from headsplat_workflow.assets.catalogue import CATALOGUE

from headsplat.heads.registry import HEADS
from headsplat.options import read_options, schema_of
from headsplat.speech.voices import VOICES
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
