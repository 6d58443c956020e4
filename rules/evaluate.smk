# Evaluation on held-out frames, and the HTML report.


rule evaluate_avatar:
    """Avatar and held-out frames -> metrics, and a video of ground truth and render with sound."""
    input:
        head=head_file,
        ext="work/cuda_ext/build.json",
        avatar="results/{subject}/avatar/model",
        track="work/{subject}/track/track.npz",
        split="work/{subject}/split.json",
        frames=chunks(("frames", "zip")),
        alpha=chunks(("alpha", "zip")),
        parsing=chunks(("parsing", "zip")),
        video=sound_source,
        weights=lpips_weights,
    output:
        metrics="results/{subject}/avatar/metrics.json",
        evaluation="work/{subject}/evaluation.npz",
        video="results/{subject}/avatar/test.mp4",
    log:
        "logs/{subject}/evaluate_avatar.log",
    benchmark:
        "logs/{subject}/evaluate_avatar.tsv"
    conda:
        "../envs/trainer.yaml"
    threads: 4
    resources:
        gpu=1,
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        sound=sound_flag,
        scratch="scratch/{subject}/evaluate_avatar",
        code=code_version("evaluate_avatar"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/evaluate_avatar.py --avatar={input.avatar:q} --head={input.head:q} '
        "--track={input.track:q} --split={input.split:q} --frames {input.frames:q} --alpha {input.alpha:q} "
        "--parsing {input.parsing:q} {params.sound:q} --scratch={params.scratch:q} "
        "--metrics={output.metrics:q} --evaluation={output.evaluation:q} --video-out={output.video:q} > {log:q} 2>&1"


rule write_report:
    """Metrics, track and logs -> self-contained HTML report that names the weakest stage."""
    input:
        metrics="results/{subject}/avatar/metrics.json",
        evaluation="work/{subject}/evaluation.npz",
        avatar="results/{subject}/avatar/model",
        track="work/{subject}/track/track.npz",
        head=head_file,
        split="work/{subject}/split.json",
        frames="work/{subject}/frames.tsv",
        info="work/{subject}/video.json",
        refinement=refinement_file,
        voice="results/{subject}/voice/voice.json",
    output:
        report(
            "results/{subject}/avatar/report.html",
            caption="../docs/report.rst",
            category="avatars",
        ),
    log:
        "logs/{subject}/write_report.log",
    benchmark:
        "logs/{subject}/write_report.tsv"
    conda:
        "../envs/trainer.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        ground_truth=ground_truth_flag,
        refinement=refinement_flag,
        logs="logs/{subject}",
        code=code_version("write_report"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/write_report.py --subject={wildcards.subject:q} --metrics={input.metrics:q} '
        "--evaluation={input.evaluation:q} --avatar={input.avatar:q} --track={input.track:q} "
        "--head={input.head:q} --split={input.split:q} --frames-table={input.frames:q} --info={input.info:q} "
        "{params.ground_truth:q} {params.refinement:q} --voice={input.voice:q} --logs={params.logs:q} --out={output:q} > {log:q} 2>&1"
