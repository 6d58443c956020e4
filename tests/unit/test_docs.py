"""The pages: links lead somewhere, the README is short, words and sentences are plain."""

import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

from headsplat_workflow import set_up

from tests.unit.pages import CODE_WORD, IMAGE, ROOT, links, pages, prose, sentences, slugs

README = ROOT / "README.md"
LONGEST_SENTENCE = 25
# The field's words, and American spelling.
WRONG_WORDS = {
    r"pictures?": "image",
    r"cards?": "GPU",
    r"films?": "video",
    r"(?<!ground )truth": "ground truth",
    r"\w*colour\w*": "color",
    r"rasteris\w*": "rasteriz-",
    r"optimis\w*": "optimiz-",
    r"initialis\w*": "initializ-",
    r"grey": "gray",
    r"cent(?:re|red|res)": "center",
    r"(?:milli|centi)?metres?": "meter",
}


def word_count(sentence: str) -> int:
    """Words of a sentence; numbers, symbols, and names in code are none."""
    words = re.findall(r"[A-Za-z][\w'-]+|[aAI]\b", sentence)
    return len([word for word in words if word != CODE_WORD])


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", pages(), ids=name)
def test_links_lead_to_files_and_headings(page):
    dead = []
    for target in links(page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in slugs(file.read_text())):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("page", pages(), ids=name)
def test_words_are_those_of_the_field(page):
    text = prose(page.read_text())
    found = {
        wrong: right
        for pattern, right in WRONG_WORDS.items()
        for wrong in re.findall(rf"\b{pattern}\b", text, re.I)
    }
    assert found == {}


@pytest.mark.parametrize("page", pages(), ids=name)
def test_sentences_are_short(page):
    long = [s for s in sentences(page.read_text()) if word_count(s) > LONGEST_SENTENCE]
    assert long == []


def test_readme_is_a_page():
    lines = README.read_text().splitlines()
    assert len(lines) <= 120
    assert [line for line in lines if len(line) > 100] == []


def test_readme_shows_two_images_and_one_moves():
    images = [ROOT / target for target in IMAGE.findall(README.read_text())]
    assert len(images) >= 2
    moving = [path for path in images if getattr(Image.open(path), "n_frames", 1) > 1]
    assert len(moving) == 1
    assert moving[0].stat().st_size <= 2_000_000


def test_images_are_small_together():
    sizes = [path.stat().st_size for path in (ROOT / "docs/images").iterdir()]
    assert sum(sizes) <= 3_000_000


@pytest.mark.parametrize(
    ("question", "answers"),
    [
        ("the mouth weight", ("`train:`", "config/config.yaml")),
        ("add a head model", ("docs/extending.md",)),
        ("an export", ("docs/extending.md",)),
        ("why a stage reran", (".snakemake/log/",)),
        ("what would run and why", ("snakemake plan",)),
    ],
)
def test_readme_answers_a_stranger(question, answers):
    rows = [line for line in README.read_text().splitlines() if question in line]
    assert any(all(answer in row for answer in answers) for row in rows)


def test_index_lists_every_page():
    listed = {
        (ROOT / "docs" / target).resolve()
        for target in links((ROOT / "docs/README.md").read_text())
    }
    assert [name(p) for p in pages() if p not in listed and p.name != "README.md"] == []


@pytest.mark.parametrize("page", pages(), ids=name)
def test_named_commands_exist(page):
    text = page.read_text()
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    asked = re.findall(r"\bsnakemake ([a-z_]+) --cores", text)
    asked += re.findall(r"\bsnakemake --cores \w+ ([a-z_]+)\b(?!/)", text)
    assert set(asked) <= rule_names()
    assert set(re.findall(r"`make ([a-z-]+)`", text)) <= targets
    scripts = re.findall(r"\bpython (?:-m )?(benchmarks[/.]\w+)", text)
    assert [
        s for s in scripts if not (ROOT / s.replace(".", "/")).with_suffix(".py").exists()
    ] == []


def rule_names() -> set[str]:
    files = [ROOT / "Snakefile", *ROOT.glob("rules/*.smk")]
    return set(re.findall(r"^rule (\w+)", "".join(p.read_text() for p in files), re.M))


def test_the_drawing_shows_the_rules():
    text = (ROOT / "docs/architecture.md").read_text()
    drawing = re.search(r"```mermaid\nflowchart LR\n(.*?)```", text, re.S)[1]
    drawn = set(re.findall(r"\b\w+_\w+\b", drawing))
    assert {"probe_video", "train_avatar", "write_report"} <= drawn <= rule_names()


def test_every_package_is_on_the_architecture_page():
    text = (ROOT / "docs/architecture.md").read_text()
    listed = set(re.findall(r"`(?:headsplat\.)?(\w+)`", text))
    packages = {path.parent.name for path in ROOT.glob("headsplat/*/__init__.py")}
    assert packages - listed == set()


def options() -> set[str]:
    """Every option as the pages write it: `section.key`."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    sections = {s: v for s, v in config.items() if isinstance(v, dict) and s != "presets"}
    return {f"{section}.{key}" for section, values in sections.items() for key in values}


@pytest.mark.parametrize("page", pages(), ids=name)
def test_named_options_exist(page):
    known = options()
    sections = {option.partition(".")[0] for option in known}
    spans = re.findall(r"`([a-z]+)\.([a-z_]+)(?:: [^`]*)?`", page.read_text())
    files = ("npz", "npy", "json", "tsv", "yaml", "py", "mp4", "csv", "md", "txt", "html")
    named = {f"{s}.{key}" for s, key in spans if s in sections and key not in files}
    assert named - known == set()


def test_named_files_of_the_repository_exist():
    places = "headsplat|workflow_scripts|rules|profiles|tests|benchmarks|envs|cuda_ext|docs"
    missing = {}
    for page in pages():
        if page.name == "CHANGELOG.md":
            continue
        spans = re.findall(rf"`((?:{places})/[\w./-]*\w)/?`", page.read_text())
        absent = [
            path for path in spans if not (ROOT / path).exists() and not path.startswith("docs/api")
        ]
        if absent:
            missing[name(page)] = absent
    assert missing == {}


def version(text: str, pattern: str) -> str:
    return re.search(pattern, text, re.M)[1]


def test_the_version_is_the_same_everywhere():
    project = version((ROOT / "pyproject.toml").read_text(), r'^version = "([^"]+)"')
    changes = version((ROOT / "CHANGELOG.md").read_text(), r"^## \[(\d[^]]*)\]")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project == changes == citation["version"]
    assert citation["authors"] == [{"name": "The headsplat developers"}]


def test_continuous_integration_runs_the_script():
    job = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["all"]
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == ".ci/run"
    assert [
        s["with"]["python-version"] for s in job["steps"] if "python-version" in s.get("with", {})
    ] == ["${{ matrix.python }}"]
    minors = [int(python.removeprefix("3.")) for python in job["strategy"]["matrix"]["python"]]
    assert minors == [*range(set_up.OLDEST[1], set_up.NEWEST[1] + 1)]


def test_bug_form_asks_for_doctor():
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/bug_report.yml").read_text())
    asked = {field["id"]: field for field in form["body"] if field["type"] != "markdown"}
    assert "snakemake doctor" in asked["doctor"]["attributes"]["description"]
    assert asked["doctor"]["validations"]["required"]


def test_hooks_use_the_pinned_tools():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    lock = (ROOT / "requirements-dev.txt").read_text()
    local = [
        hook["entry"].split()[0]
        for repo in hooks
        if repo["repo"] == "local"
        for hook in repo["hooks"]
    ]
    for tool in {Path(entry).name for entry in local} - {"python"}:
        assert re.search(rf"^{tool}==", lock, re.M)
    assert all(entry.startswith(".venv/bin/") for entry in local)
