#!/usr/bin/env bash
# Makes .venv with the locked versions: ./setup.sh [EXTRA ...]   (eval is always tried; e.g. dev, train, server, ray)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
python=${PYTHON:-python3.11}

if ! "$python" -c 'import sys; assert sys.version_info >= (3, 11); import ensurepip' 2>/dev/null; then
    echo "setup: needs Python 3.11 with venv (Debian: apt-get install python3.11 python3.11-venv)" >&2
    exit 3
fi
# The machine's own certificates where it has some: a company's proxy may need them.
certificates=/etc/ssl/certs/ca-certificates.crt
[ -n "${SSL_CERT_FILE:-}" ] || [ ! -r "$certificates" ] || export SSL_CERT_FILE=$certificates

export PIP_DISABLE_PIP_VERSION_CHECK=1
[ -x .venv/bin/python ] || "$python" -m venv .venv
[ -x .venv/bin/uv ] || .venv/bin/python -m pip install -q uv

extras=()
for extra in "$@"; do extras+=(--extra "$extra"); done
unset VIRTUAL_ENV UV_PROJECT_ENVIRONMENT
sync=(.venv/bin/uv sync -q --locked --inexact --python .venv/bin/python "${extras[@]}")

# pesq is compiled on installation. Without a C compiler everything else works.
if command -v "${CC:-cc}" >/dev/null || command -v gcc >/dev/null; then
    "${sync[@]}" --extra eval
else
    echo "setup: no C compiler, so PESQ is left out (Debian: apt-get install gcc libc6-dev)" >&2
    "${sync[@]}"
fi
