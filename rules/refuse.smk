# Table rows that cannot be used, as jobs that fail.


localrules:
    refuse,


rule refuse:
    """Row of a table that cannot be used -> a failed job with one error line; writes no output."""
    input:
        announced_refusal,
    output:
        "work/.refused/{refused}",
    log:
        "logs/.refused/{refused}.log",
    benchmark:
        "logs/.refused/{refused}.tsv"
    wildcard_constraints:
        refused=refusals.NAME,
    retries: 0
    conda:
        own_environment
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        line=refusal_line,
        code=code_version("refuse"),
    shell:
        'exec python "$HEADSPLAT_SCRIPTS"/refuse.py --line={params.line:q} > {log:q} 2>&1'
