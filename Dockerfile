# Everything but the GPU: api-server, scheduler, dag-processor, triggerer and the default worker.
FROM python:3.11.14-slim-bookworm

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 AIRFLOW_HOME=/opt/airflow
RUN apt-get update \
    && apt-get install --yes --no-install-recommends dumb-init libgomp1 curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 50000 --gid 0 --create-home --home-dir /opt/airflow airflow \
    && mkdir -p /opt/airflow/home /opt/airflow/logs /opt/airflow/auth /run/keys \
    && chown -R airflow:0 /opt/airflow /run/keys

WORKDIR /opt/pipeline
COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
COPY pipeline_lib pipeline_lib
COPY sql sql
# The compiler builds the serving kernel that a release puts into the function, and is not needed after.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc \
    && python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --constraint constraints.txt \
       --editable '.[ingest,features,distill,record,aws,airflow,celery]' \
    && apt-get purge --yes --auto-remove gcc \
    && rm -rf /var/lib/apt/lists/*
COPY dags dags
COPY plugins plugins

ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/pipeline \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/pipeline/dags AIRFLOW__CORE__PLUGINS_FOLDER=/opt/pipeline/plugins
USER airflow
ENTRYPOINT ["dumb-init", "--"]
