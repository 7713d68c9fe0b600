#!/usr/bin/env bash
# Does all the set-up that the tests need, then runs them: a virtual environment (default: .venv) with probekit and its
# test requirements, and the browser that the report's tests drive, where it may be installed. Where it may not, those
# tests are skipped, with their number and the reason; PROBEKIT_BROWSER=required makes that a failure.
# The tests run in two processes, a file at a time, each with one thread. Further arguments go to pytest:
# `bash tests/run.sh .venv -m slow`; `-n 0` for one process.
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${1:-.venv}"
shift || true
if ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } >/dev/null 2>&1 ||
      echo "tests/run.sh: apt-get could not install chromium" >&2
  else
    echo "tests/run.sh: no chromium, and only root can install it (apt-get install chromium)" >&2
  fi
fi
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet torch torchvision
"$venv/bin/pip" install --quiet -e '.[test]'
"$venv/bin/ruff" check .
"$venv/bin/mypy"
exec env OMP_NUM_THREADS=1 "$venv/bin/python" -m pytest -rs -n 2 --dist loadfile "$@"
