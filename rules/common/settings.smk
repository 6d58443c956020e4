# Settings: the configuration and the tables, as all rules use them.
import re
import sys
from functools import cache
from pathlib import Path

ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
sys.path.insert(0, str(ROOT / "workflow_scripts"))
from headsplat_workflow import clip_length, console, motion_row, motions, named_rows, refusals
from headsplat_workflow import run_checks, shutdown, snakemake_patches
from headsplat_workflow import config as configuration, resources as requests, subjects as subject_table
from headsplat_workflow.arguments import argument, arguments, set_models, set_scripts
from headsplat_workflow.assets.check import verify_used
from headsplat_workflow.assets.needs import Assets, as_flags
from headsplat_workflow.codehash import code_version, read_sources
from headsplat_workflow.run_report import RunReport
from headsplat_workflow.user_files import content_of, folders_in
from headsplat.drive.look import PASTE
from headsplat.formats.registry import ALPHA, PARSING
from headsplat.heads.registry import HEADS
from headsplat.runtime import gpu, process, storage, watchdog_launcher
from headsplat.runtime.errors import UserError, shown
from headsplat.speech.voices import PERSONAL, VOICES
from headsplat.video.formats import FORMATS

read_sources(Path(".snakemake/headsplat/sources.json"))
set_scripts(ROOT / "workflow_scripts")
set_models()
CONSOLE = console.install(workflow.output_settings) if workflow.is_main_process else None


def or_exit(function, *args):
    """Call a function; a `UserError` ends the run with one line and exit status 1."""
    try:
        return function(*args)
    except UserError as error:
        sys.exit(f"error: {error}")


or_exit(snakemake_patches.require_version)
snakemake_patches.install()
process.prepare_stages()
shutdown.install(workflow)
configuration.read_texts(config)
configuration.fill_in(config)
or_exit(configuration.validate, config, configuration.named(workflow.config_settings.configfiles))
watchdog_launcher.set_limits(**config["watchdog"])
PRESETS = {name: configuration.merged(config, preset) for name, preset in config["presets"].items()}
SUBJECTS = or_exit(subject_table.read_subjects, Path(config["subjects"]), config["presets"])
subject_table.refuse_checkpoints(SUBJECTS, PRESETS)
if workflow.is_main_process:  # clocks of other machines differ
    run_checks.refuse_future(SUBJECTS)
# Beside the table of subjects; without it there are no motions.
MOTIONS = or_exit(motions.read_motions, Path(config["subjects"]).with_name("motions.tsv"), SUBJECTS)
SPOKEN = or_exit(motions.add_spoken, MOTIONS, SUBJECTS, config["speak"])
REFUSALS = refusals.Refusals()
REFUSED = [
    REFUSALS.file(kind, name, line)
    for kind, rows in ((refusals.SUBJECT, SUBJECTS), (refusals.MOTION, MOTIONS))
    for name, line in rows.refused.items()
]
REFUSALS.install(workflow)

FINAL = [
    "results/{subject}/avatar/report.html",
    "results/{subject}/avatar/test.mp4",
    "results/{subject}/avatar/metrics.json",
    "results/{subject}/voice/voice.json",
    "results/{subject}/dataset",
    "results/{subject}/checkpoint",
    "work/{subject}/track/overlay.mp4",
]
BUILTIN_CLIP = "work/builtin/demo.mp4"
BUILTIN_GROUND_TRUTH = "work/builtin/ground_truth.npz"
LPIPS_FILES = ["assets/vgg16-397923af.pth", "assets/vgg.pth"]
LPIPS_WEIGHTS = LPIPS_FILES if all(Path(file).is_file() for file in LPIPS_FILES) else []
PAGE_FILES = sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "headsplat/web/page").iterdir() if path.is_file()
)
KERNELS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "cuda_ext").glob("**/*")
    if path.suffix in (".cpp", ".cu", ".cuh", ".h", ".py")
)


def only(names):
    """Wildcard constraint that only these subjects match."""
    return named_rows.pattern_among(names, SUBJECTS)


def subjects_where(test):
    """Wildcard constraint that only the subjects match for which `test` is true."""
    return only({subject.name for subject in SUBJECTS.values() if test(subject)})


# Wildcard constraints, so that exactly one rule makes each file of a subject.
FROM_VIDEO = subjects_where(lambda subject: not subject.imported)
FROM_IMPORT = subjects_where(lambda subject: subject.imported)
ALPHA_MADE = subjects_where(lambda subject: ALPHA not in subject.brings)
ALPHA_IMPORTED = subjects_where(lambda subject: ALPHA in subject.brings)
PARSING_MADE = subjects_where(lambda subject: PARSING not in subject.brings)
PARSING_IMPORTED = subjects_where(lambda subject: PARSING in subject.brings)
TRAINED = subjects_where(lambda subject: not subject.avatar)
NOT_TRAINED = subjects_where(lambda subject: subject.avatar)


# Suffixes of driven videos with an alpha channel.
ALPHA_FORMATS = "|".join(re.escape(name[1:]) for name, kind in FORMATS.items() if kind.alpha)


wildcard_constraints:
    subject=named_rows.NAME,
    chunk=r"\d{3}",


def subject_of(name):
    """The subject's row of the table; an unknown name ends the run."""
    return or_exit(SUBJECTS.__getitem__, name)


def settings(subject, section):
    """One section of the configuration under the subject's preset."""
    return PRESETS[subject_of(subject).preset][section]


ASSETS = Assets(config, SUBJECTS, settings)


@cache
def clip_seconds(subject):
    """Estimated length of the subject's clip in seconds, from the user's files alone."""
    return clip_length.clip_seconds(subject_of(subject), config["builtin"]["seconds"])


def chunk_count(wildcards):
    """Number of chunks of the subject's clip."""
    return clip_length.chunk_count(settings(wildcards.subject, "chunks"), clip_seconds(wildcards.subject))


CLIP_FRAMES = requests.ClipFrames(clip_seconds)
