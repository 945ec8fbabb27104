# One image for every role: `web`, `worker`, `clock`, `serve`, and `db upgrade` before any of them.
FROM python:3.11-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap git git-lfs \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY requirements.lock ./
# Exactly what is locked, by version and hash.
RUN pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY bot bot
COPY handlers handlers
COPY policies policies
RUN pip install --no-cache-dir --no-deps --no-build-isolation . \
    && useradd --create-home --uid 10001 orchestrate \
    && install -d -o orchestrate /var/lib/orchestrate

USER orchestrate
ENV ORCHESTRATE_DATA_DIR=/var/lib/orchestrate
# A volume: an overlay, which workspaces are, cannot stand on a container's own root folder.
VOLUME /var/lib/orchestrate
ENTRYPOINT ["orchestrate"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
