"""A recommender whose model risk is carried by its architecture.

The journey of a week, in the order the folders are used (the order itself is in ``dags/`` alone):

    ingest/    raw source -> checked canonical tables, splits, labels
    features/  tables at a cutoff -> feature matrix with a schema that knows its lineage
    teacher/   frame -> multi-task network with seven named experts -> soft labels and gate weights
    distill/   soft labels -> one LightGBM student per task, judged for fidelity
    gate/      champion against challenger -> one Decision, recorded before it takes effect
    publish/   Decision and Receipt -> signed package, released to its target
    serve/     request -> answer with reasons, in Lambda, with neither torch nor airflow
    monitor/   served answers -> readings; oversee/ acts on them
    comply/    recorded evidence -> five regulators' reports

Everything stands on the ground floor (settings, errors, objects, manifest, runs, keys, signing, sql, store) and the
middle floor (contracts, audit, registry). Stages never import one another. For example::

    from datetime import date
    from pipeline_lib import settings
    from pipeline_lib.ingest import load
    from pipeline_lib.runs import RunContext

    ctx = RunContext.open(settings.load("synthetic"), date(2026, 11, 16))
    print(load.ingest(ctx).content_hash)
"""
