# Rows of the tables that cannot be used.


localrules:
    refuse,


rule refuse:
    """A row of a table that cannot be used: a job that fails with one line."""
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
