# slidenet with CUDA: the ordinary torch wheels carry the CUDA libraries, so the base stays small
# and the host needs only NVIDIA's driver and container toolkit (docker run --gpus all ...).
#   docker build -t slidenet .
#   docker run --rm --gpus all -v "$PWD:/work" slidenet run --slides slides.csv --out embeddings
FROM python:3.12-slim AS build
WORKDIR /opt/slidenet
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN pip install --no-cache-dir --constraint constraints.txt uv
COPY slidenet ./slidenet
RUN uv venv /opt/venv \
    && uv pip install --no-cache --python /opt/venv/bin/python --constraint constraints.txt '.[cpu]'

FROM python:3.12-slim
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/home/slidenet/.cache/huggingface \
    TRITON_CACHE_DIR=/tmp/triton \
    MPLCONFIGDIR=/tmp/matplotlib
# Triton, which torch brings, compiles the kernels of dilated attention at the first call.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 slidenet
COPY --from=build /opt/venv /opt/venv
USER slidenet
WORKDIR /work
ENTRYPOINT ["slidenet"]
CMD ["--help"]
