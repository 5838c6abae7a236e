# syntax=docker/dockerfile:1
# One image for a cluster's head, its workers, jobs and the MLflow server.
#
#   docker build -t flare-ray .                               GPU: torch's CUDA 13 wheel; nodes need NVIDIA driver 580 or later
#   docker build -t flare-ray:cpu --build-arg DEVICE=cpu .        CPU_INDEX= (empty): torch from pip's own index
#   docker build -t flare-ray:gcp --build-arg EXTRAS=gpu,marian,s3,postgres,gcp .     (azure: likewise)
#   docker run --rm --shm-size 2g flare-ray:cpu python -m flare_ray.sweep sweeps/demo.yaml      the smoke test
#
# The base is Python's, not CUDA's: torch's wheel brings its own CUDA libraries, the node's driver comes in by the NVIDIA
# container runtime, and a second CUDA would lie in it unused. No DeepSpeed op is prebuilt and there is no compiler:
# the engine trains with torch's AdamW and uses none of them (flare_ray/training/engine.py).
ARG PYTHON=3.11.14-slim-bookworm

# torch's own pin, so that a change of any other one leaves its layer, the largest, alone
FROM python:${PYTHON} AS pins
COPY constraints.txt /
RUN grep -E '^torch==' /constraints.txt > /torch.txt

FROM python:${PYTHON}
SHELL ["/bin/bash", "-o", "errexit", "-o", "pipefail", "-c"]

# what `ray up` needs inside of a container (ssh, rsync), and KubeRay's probes (wget)
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends openssh-client rsync wget \
 && rm -rf /var/lib/apt/lists/*

# 1000 is the first user of the clouds' machines: `ray up` mounts that user's files into the container
ARG UID=1000
RUN useradd --uid "${UID}" --create-home --shell /bin/bash ray \
 && install --directory --owner=ray --group=ray --mode=700 /home/ray/.ray /home/ray/.cache

ARG DEVICE=gpu
ARG CPU_INDEX=https://download.pytorch.org/whl/cpu
COPY --from=pins /torch.txt /build/
RUN --mount=type=cache,target=/root/.cache/pip \
    case "${DEVICE}" in \
      gpu) set -- ;; \
      cpu) set -- ${CPU_INDEX:+--index-url "${CPU_INDEX}"} ;; \
      *) echo "DEVICE is gpu or cpu, not ${DEVICE}" >&2; exit 2 ;; \
    esac \
 && pip install "$@" --constraint /build/torch.txt torch

# everything else that is not ours: an empty package with our requirements stands for the code
ARG EXTRAS=gpu,marian,s3,postgres,aws
COPY pyproject.toml constraints.txt /build/
RUN --mount=type=cache,target=/root/.cache/pip \
    mkdir /build/flare_ray \
 && touch /build/README.md /build/flare_ray/__init__.py \
 && pip install --constraint /build/constraints.txt "/build[${EXTRAS}]" \
 && pip uninstall --yes flare-ray \
 && rm -rf /build

COPY pyproject.toml README.md /source/
COPY flare_ray /source/flare_ray
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps /source && rm -rf /source
COPY sweeps /home/ray/sweeps
COPY cluster/docker/healthy.py /usr/local/bin/healthy.py

# HOME is where `ray up` puts what it mounts at ~; NVIDIA_*: what the container runtime brings in
ENV HOME=/home/ray \
    USER=ray \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0
USER ${UID}
WORKDIR /home/ray
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s --retries=4 CMD ["python", "/usr/local/bin/healthy.py"]
CMD ["flare-ray", "--help"]
