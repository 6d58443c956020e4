# Speech: a subject's voice, and motions from sound. `snakemake results/<subject>/driven/<motion>.mp4`.


rule learn_voice:
    """Track and sound of the clip -> the subject's voice: how this face moves with its own speech."""
    input:
        head=head_file,
        track="work/{subject}/track/track.npz",
        video=sound_source,
    output:
        voice="results/{subject}/voice/voice.npz",
        scores="results/{subject}/voice/voice.json",
    log:
        "logs/{subject}/learn_voice.log",
    benchmark:
        "logs/{subject}/learn_voice.tsv"
    conda:
        "../envs/trainer.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        sound=sound_flag,
        options=options("voice"),
        code=code_version("learn_voice"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/learn_voice.py --head={input.head:q} --track={input.track:q} '
        "{params.sound:q} {params.options:q} --out={output.voice:q} --scores-out={output.scores:q} > {log:q} 2>&1"


rule speak_motion:
    """Sound and voice -> motion of the face, as codes and head poses."""
    input:
        unpack(voice_files),
        head=head_file,
        track="work/{subject}/track/track.npz",
        sound=motion_file("file"),
        transcript=motion_file("transcript"),
    output:
        "work/{subject}/speech/{motion}.npz",
    log:
        "logs/{subject}/speak_motion/{motion}.log",
    benchmark:
        "logs/{subject}/speak_motion/{motion}.tsv"
    wildcard_constraints:
        motion=named_rows.NAME,
    conda:
        "../envs/trainer.yaml"
    threads: 2
    resources:
        gpu=voice_gpus,
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        voice=voice_flags,
        files=voice_file_flags,
        codes="work/{subject}/speech/{motion}.codes.npz",
        code=code_version("speak_motion"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/speak_motion.py --head={input.head:q} --track={input.track:q} '
        "--sound={input.sound:q} {params.voice:q} {params.files:q} "
        "--codes-out={params.codes:q} --out={output:q} > {log:q} 2>&1"


rule render_builtin_speech:
    """Built-in voice -> sound of a sentence that the built-in clip does not contain."""
    output:
        motion_row.BUILTIN_SENTENCE,
    log:
        "logs/assets/render_builtin_speech.log",
    benchmark:
        "logs/assets/render_builtin_speech.tsv"
    conda:
        "../envs/assets.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb,
        runtime=run_minutes,
        disk_mb=disk_mb,
    params:
        code=code_version("render_builtin_speech"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/render_builtin_speech.py --out={output:q} > {log:q} 2>&1'
