#!/usr/bin/env bash
# Sets up .venv and runs every check: format, lint, types, tests.
#   bash scripts/test.sh            everything
#   bash scripts/test.sh --fast     without tests marked slow
#   bash scripts/test.sh --browser  also opens pages in a headless Chromium, which must be installed
#   bash scripts/test.sh -- ARGS    pass ARGS on to pytest
set -euo pipefail
extras=dev
if [ "${1:-}" = "--browser" ]; then
    extras=dev,browser
    shift
fi
EXTRAS=$extras source "$(dirname "$0")/setup_env.sh"

select=()
if [ "${1:-}" = "--fast" ]; then
    select=(-m "not slow")
    shift
fi
[ "${1:-}" = "--" ] && shift

unset PYTHONDONTWRITEBYTECODE  # or every process of the tests compiles slidenet anew

echo "== ruff format";  "$VENV/bin/ruff" format --check .
echo "== ruff check";   "$VENV/bin/ruff" check .
echo "== mypy";         "$VENV/bin/mypy"
# One process per core, one thread each: more threads would only wait for each other.
echo "== pytest";       OMP_NUM_THREADS=1 "$VENV/bin/pytest" -q -n auto --dist worksteal \
                            --durations=10 "${select[@]}" "$@"
