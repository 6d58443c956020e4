# What a person asks of a run: nothing here makes a file, and nothing waits for a run's lock.


localrules:
    doctor,
    plan,
    status,


rule plan:
    """What a run would do: per subject and stage whether, why, and what it took last time."""
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
    """How far every subject is, by its files and logs; nothing is planned."""
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
    """Look over the machine before a run, from driver to disk, with a cure for what is wrong."""
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
