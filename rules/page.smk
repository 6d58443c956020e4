# Pages that show a subject in a browser: one file to give away, and the viewer of this machine.


localrules:
    view,


rule export_web:
    """Avatar, its clip's track and motions -> one HTML file that draws and plays it in a browser."""
    input:
        head=head_file,
        ext="work/cuda_ext/build.json",
        track="work/{subject}/track/track.npz",
        model="results/{subject}/avatar/model",
        video=sound_source,
        motions=page_files("file"),
        sounds=page_files("audio"),
        webcam=page_webcam,
    output:
        "results/{subject}/export/web/{subject}.html",
    log:
        "logs/{subject}/export_web.log",
    benchmark:
        "logs/{subject}/export_web.tsv"
    conda:
        "../envs/trainer.yaml"
    threads: 2
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        sound=sound_flag,
        motions=page_motion_flags,
        options=page_flags,
        code=code_version("export_web", *PAGE_FILES),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/export_web.py --name={wildcards.subject:q} --model={input.model:q} '
        "--head={input.head:q} --track={input.track:q} {params.sound:q} {params.motions:q} {params.options:q} "
        "--out={output:q} > {log:q} 2>&1"


rule view:
    """A subject's files -> a page of this machine, until it is stopped; also while a run goes on."""
    log:
        "logs/operate/view.log",
    conda:
        own_environment
    threads: 1
    resources:
        mem_mb=4000,
        runtime=1440,
    params:
        settings=settings_flag,
        code=code_version("view"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/view.py {params.settings:q} 2> {log:q}'
