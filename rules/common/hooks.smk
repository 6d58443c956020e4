# Hooks that run before the first job and after the last one.

# Rules that only print and write no output file.
PRINTING = ("plan", "status", "view", "doctor", "assets_check")
REPORTS = []


def only_prints():
    """Whether only printing rules were requested; another run may be active meanwhile."""
    return all(job.rule.name in PRINTING for job in workflow.dag.needrun_jobs())


def check_disks():
    """End the run at once if a disk is full or not writable."""
    if not only_prints():
        or_exit(storage.require_room, [".snakemake", "work", "results", "scratch", "logs"])


def hold_run_lock():
    """Take the lock of the working folder, so that only one run is active."""
    if not only_prints():
        or_exit(run_checks.hold_run_lock)


def check_used_assets():
    """Check that the assets in use are the published files, or unchanged since their first use."""
    or_exit(verify_used, list(USED_ASSETS.values()))


def show_progress(log_files):
    """Start the console output: a line per finished stage, and progress."""
    if CONSOLE:
        CONSOLE.begun = True
    if not only_prints():
        REPORTS.append(RunReport(workflow, CONSOLE, frames_of))
        REPORTS[0].begin(log_files)


def frames_of(subject):
    """Number of frames of a subject's clip; None stands for the built-in clip."""
    return CLIP_FRAMES.of(subject) if subject else config["builtin"]["seconds"] * 25


def print_summary():
    """Print the closing table: the outcome for each subject."""
    for begun in REPORTS:
        begun.end(shutdown.stopped(), shutdown.ended_since(workflow.scheduler.failed))


def limit_this_machine():
    """Limit local jobs to this machine's GPUs and memory, unless the user set other limits."""
    elsewhere = workflow.resource_settings.nodes is not None
    if elsewhere or not workflow.is_main_process:
        return
    if workflow.global_resources.get("mem_mb").value is None:
        workflow.register_resource("mem_mb", requests.machine_memory_mb())
    gpus = gpu.gpu_count()
    if gpus and workflow.global_resources.get("gpu").value is None:
        workflow.register_resource("gpu", gpus)


limit_this_machine()
