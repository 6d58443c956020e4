# Rules that print information; they write no output file and do not take the run lock.


localrules:
    doctor,
    plan,
    status,
    subjects,


rule plan:
    """Configuration -> printed plan: stages that would run, why, and their last duration."""
    log:
        "logs/operate/plan.log",
    conda:
        own_environment
    threads: 1
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        settings=settings_flag,
        sdm=[str(method) for method in workflow.deployment_settings.deployment_method],
        code=code_version("plan"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/plan.py {params.settings:q} --sdm {params.sdm:q} 2> {log:q}'


rule status:
    """Output and log files -> printed progress of every subject, without planning."""
    log:
        "logs/operate/status.log",
    conda:
        own_environment
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        settings=settings_flag,
        code=code_version("status"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/status.py {params.settings:q} 2> {log:q}'


rule doctor:
    """Configuration -> printed table of checks of this machine, with a fix for each problem."""
    log:
        "logs/operate/doctor.log",
    conda:
        own_environment
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=settings_flag,
        needs=needs_flags,
        code=code_version("doctor"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/doctor.py {params.settings:q} {params.needs:q} 2> {log:q}'


rule subjects:
    """A folder of videos -> rows in the table of subjects, and a printed list of what was left out."""
    log:
        "logs/operate/subjects.log",
    conda:
        own_environment
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        settings=settings_flag,
        code=code_version("subjects"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/subjects.py {params.settings:q} 2> {log:q}'
