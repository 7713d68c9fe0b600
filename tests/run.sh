#!/usr/bin/env bash
# Installs probekit with its test requirements into a virtual environment (default: .venv) and runs the tests.
# Further arguments go to pytest: `bash tests/run.sh .venv -m slow`.
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${1:-.venv}"
shift || true
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet torch torchvision
"$venv/bin/pip" install --quiet -e '.[test]'
"$venv/bin/ruff" check .
"$venv/bin/mypy"
exec "$venv/bin/python" -m pytest "$@"
