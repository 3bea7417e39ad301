# syntax=docker/dockerfile:1
# Builder and runtime are the same release, so that what is compiled in one runs in the other.
FROM python:3.11.14-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
COPY requirements.txt requirements-build.txt pyproject.toml README.md LICENSE ./
COPY deploy/install.sh deploy/rbac.yaml deploy/policies.yaml deploy/
COPY bot bot
COPY handlers handlers
COPY models models
COPY migrations migrations
RUN deploy/install.sh /opt/sluice

FROM python:3.11.14-slim-bookworm
LABEL org.opencontainers.image.title="Sluice" \
      org.opencontainers.image.description="The gate between pull requests and Flux." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/sluice /opt/sluice
ENV PATH=/opt/sluice/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    SLUICE_HOST=0.0.0.0 SLUICE_DATABASE_URL=sqlite:////data/sluice.db
# The root file system may be read-only: only /data is written to, and only with SQLite.
RUN install -d -o 65532 -g 65532 /data
VOLUME /data
USER 65532:65532
WORKDIR /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["sluice"]
CMD ["serve"]
