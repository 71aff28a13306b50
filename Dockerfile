# The unit that schedulers start, in two variants; neither runs as root:
#   docker build --target cpu -t slidenet:cpu .
#   docker build --target cuda -t slidenet:cuda .   # the default; the host needs only NVIDIA's driver
#   docker run --rm --gpus all -v "$PWD:/work" slidenet:cuda run --slides slides.csv --out embeddings
# With Ray and a bucket: --build-arg EXTRAS=cpu,ray,s3 (the extras of pyproject.toml).
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG EXTRAS=cpu
WORKDIR /opt/slidenet
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN pip install --no-cache-dir --constraint constraints.txt uv && uv venv /opt/venv
COPY slidenet ./slidenet

# PyTorch's own index has wheels without CUDA: 0.2 GB instead of 3 GB.
FROM build AS build-cpu
RUN uv pip install --no-cache --python /opt/venv/bin/python --torch-backend cpu \
    --constraint constraints.txt ".[${EXTRAS}]"

# The ordinary wheels carry the CUDA libraries, so the base stays small.
FROM build AS build-cuda
RUN uv pip install --no-cache --python /opt/venv/bin/python \
    --constraint constraints.txt ".[${EXTRAS}]"

FROM python:${PYTHON}-slim AS runtime
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/home/slidenet/.cache/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib
RUN useradd --create-home --uid 1000 slidenet
WORKDIR /work
ENTRYPOINT ["slidenet"]
CMD ["--help"]

FROM runtime AS cpu
COPY --from=build-cpu /opt/venv /opt/venv
USER 1000:1000

FROM runtime AS cuda
ENV TRITON_CACHE_DIR=/tmp/triton
# Triton, which torch brings, compiles the kernels of dilated attention at the first call. Debian
# keeps one version of a package, so none is named.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build-cuda /opt/venv /opt/venv
USER 1000:1000
