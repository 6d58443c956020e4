# headsplat: video -> frames -> landmarks, masks -> track -> Gaussians -> measured avatar.
# work/<subject>/ contains intermediate files, results/<subject>/ the results.
from snakemake.utils import min_version

min_version("9.27.1")


configfile: "config/config.yaml"


# Of every stage, with `--software-deployment-method apptainer`; see container/headsplat.def.
container: "headsplat.sif"


include: "rules/common/settings.smk"
include: "rules/common/inputs.smk"
include: "rules/common/flags.smk"
include: "rules/common/hooks.smk"
include: "rules/assets.smk"
include: "rules/frames.smk"
include: "rules/masks.smk"
include: "rules/identity.smk"
include: "rules/track.smk"
include: "rules/import.smk"
include: "rules/avatar.smk"
include: "rules/evaluate.smk"
include: "rules/drive.smk"
include: "rules/speech.smk"
include: "rules/export.smk"
include: "rules/export_avatar.smk"
include: "rules/page.smk"
include: "rules/operate.smk"
include: "rules/refuse.smk"


localrules:
    all,
    demo,
    speak,


rule all:
    """All subjects of the subject table, from video to report."""
    default_target: True
    input:
        expand(FINAL, subject=SUBJECTS),
        REFUSED,


rule demo:
    """The built-in subject only: it also speaks a sentence that its clip does not contain, and gets a
    web page."""
    input:
        expand(FINAL, subject="demo"),
        "results/demo/export/web/demo.html",
        [f"results/demo/driven/{name}.mp4" for name in MOTIONS if name == "hello"],


rule speak:
    """The sound that the section `speak` of the configuration names, spoken by its subject."""
    input:
        spoken_video,


onstart:
    check_disks()
    hold_run_lock()
    check_used_assets()
    show_progress(log)


onsuccess:
    print_summary()


onerror:
    print_summary()
