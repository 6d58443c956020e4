# Hooks: what happens before the first job and after the last one.

# Rules that make no file and only tell.
LOOKS = ("plan", "status", "doctor", "assets_check")
REPORTS = []


def only_looks():
    """Whether all that was asked for is to be shown something, which a run beside it may go on under."""
    return all(job.rule.name in LOOKS for job in workflow.dag.needrun_jobs())


def check_surroundings():
    """A full disk, or one that cannot be written, ends the run at once."""
    if not only_looks():
        or_exit(storage.require_room, [".snakemake", "work", "results", "scratch", "logs"])


def hold_run_lock():
    """One run at a time in this folder."""
    if not only_looks():
        or_exit(run_checks.hold_run_lock)


def check_used_assets():
    """Files that the run's jobs read are the published ones, or those that were first used."""
    or_exit(verify_used, list(USED_ASSETS.values()))


def show_progress(log_files):
    """Say where the run stands, a line for each stage that ends and now and then one."""
    if CONSOLE:
        CONSOLE.begun = True
    if not only_looks():
        REPORTS.append(RunReport(workflow, CONSOLE, frames_of))
        REPORTS[0].begin(log_files)


def frames_of(subject):
    """Frames of a subject's clip; of None, of the built-in clip."""
    return CLIP_FRAMES.of(subject) if subject else config["builtin"]["seconds"] * 25


def print_summary():
    """Say what became of each subject."""
    for told in REPORTS:
        told.end(shutdown.stopped(), shutdown.ended_since(workflow.scheduler.failed))


def limit_this_machine():
    """Jobs that run here share its GPUs and memory, where the user set no other limits."""
    elsewhere = workflow.resource_settings.nodes is not None
    if elsewhere or not workflow.is_main_process:
        return
    if workflow.global_resources.get("mem_mb").value is None:
        workflow.register_resource("mem_mb", requests.machine_memory_mb())
    gpus = gpu.gpu_count()
    if gpus and workflow.global_resources.get("gpu").value is None:
        workflow.register_resource("gpu", gpus)


limit_this_machine()
