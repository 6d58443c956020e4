"""Report section on the time of a training step."""

import re
from html.parser import HTMLParser

from headsplat.evaluate.report.training import TITLE, step_time

TRAINING = {
    "batch": 16,
    "images_per_second": 9876.5,
    "profile": {
        "steps": 20,
        "wall_us": 1600.0,
        "parts_us": {"rasterizer, backward": 800.0, "idle <b>": 400.0, "optimizer": 3.21},
        "trace": "trace.json.gz",
    },
}


class Balanced(HTMLParser):
    """Counts open elements; every one must be closed, in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_without_a_profile_there_is_nothing():
    assert step_time({"batch": 16, "images_per_second": 1.0}) == ""


def test_bars_and_numbers():
    text = step_time(TRAINING)
    page = Balanced(text)
    assert page.seen.count("em") == 3
    assert "b" in page.seen
    assert "idle &lt;b&gt;" in text
    assert "20 steps under the profiler took 1600 µs each, 10000 images/s" in text
    assert "whole training ran at 9876 images/s" in text
    assert re.findall(r"width:([\d.]+)%", text) == ["100.0", "50.0", "0.4"]
    assert re.findall(r"<em>(.*?)</em>", text) == [
        "800 µs, 50.0 %",
        "400 µs, 25.0 %",
        "3 µs, 0.2 %",
    ]
    assert "model/trace.json.gz" in text


def test_a_slow_step_is_shown_in_milliseconds():
    profile = {"steps": 3, "wall_us": 2.5e5, "parts_us": {"optimizer": 1.25e5}}
    text = step_time(TRAINING | {"profile": profile})
    assert "250.0 ms each" in text
    assert "<em>125.0 ms, 50.0 %</em>" in text
    assert "trace" not in text


def test_a_profile_without_parts_says_so():
    text = step_time(TRAINING | {"profile": {"steps": 3, "wall_us": 1e3, "parts_us": {}}})
    Balanced(text)
    assert TITLE.replace("'", "&#x27;") in text
    assert "recorded no parts" in text
    assert 'class="bar"' not in text
