# The image of jobs on Azure ML: what the project needs, as locked in azure-job.txt, and no code. Each job brings that along.
# Azure ML builds it (azureml/environments/job.yml), and again only when a file beside this one has changed.

# Pin the base where builds must repeat: python:3.12-slim-bookworm@sha256:..., with the digest that
# `docker buildx imagetools inspect python:3.12-slim-bookworm` prints.
ARG BASE_IMAGE=python:3.12-slim-bookworm
FROM ${BASE_IMAGE}

# LightGBM needs OpenMP, which slim images lack. The base's release fixes the version.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*

# Every hash is checked and no package's own build code runs.
WORKDIR /build
COPY azure-job.txt .
RUN python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
    --require-hashes --no-deps --only-binary :all: -r azure-job.txt \
    && rm azure-job.txt

# A waiting OpenMP thread must not spin on the cores that other work needs.
# ONNX Runtime tells Microsoft about its use unless it is told not to.
ENV PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=PASSIVE \
    ORT_DISABLE_TELEMETRY=1
