# CPU:  docker build -t avse . && docker run -p 8000:8000 avse
# CUDA: docker build -t avse:cuda --build-arg TORCH=cu130 .   (run with --gpus all)
FROM python:3.11-slim AS build
ARG TORCH=cpu
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* && pip install --no-cache-dir uv
WORKDIR /src
COPY pyproject.toml uv.lock ./
# The locked versions; torch and what only torch needs come from the index of that build.
RUN locked="uv export -q --frozen --no-emit-project --no-hashes --no-annotate --extra server --extra eval" \
    && $locked | grep -E "^torch(audio)?==" > torch.txt \
    && $locked --prune torch --prune torchaudio -o requirements.txt \
    && uv venv -q --python 3.11 /opt/avse \
    && uv pip install -q --no-cache --python /opt/avse/bin/python \
        --index-url "https://download.pytorch.org/whl/${TORCH}" -r torch.txt \
    && uv pip install -q --no-cache --python /opt/avse/bin/python --no-deps -r requirements.txt
COPY README.md LICENSE ./
COPY avse avse
COPY models models
COPY preprocessing preprocessing
COPY server server
RUN uv pip install -q --no-cache --no-deps --python /opt/avse/bin/python .

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 avse
COPY --from=build /opt/avse /opt/avse
ENV PATH=/opt/avse/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/tmp/numba \
    MPLCONFIGDIR=/tmp/matplotlib
USER avse
WORKDIR /home/avse
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/v1/health/live', timeout=3)"]
ENTRYPOINT ["avse"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
