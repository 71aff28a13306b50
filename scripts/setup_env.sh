# Sourced by demo.sh and test.sh: makes .venv with everything slidenet needs and defines $VENV.
# Needs only Python 3.11 to 3.13 and a package index. Usage: EXTRAS=dev source scripts/setup_env.sh
# The extra `cpu` always comes along: it is small beside PyTorch, and makes runs on a CPU faster.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
VENV="$PWD/.venv"

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
        if [ -n "$candidate" ] && "$candidate" -c \
            'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "slidenet needs Python 3.11 to 3.13; none was found. To fix: install one, or set PYTHON=/path/to/python3" >&2
    return 1
}

# Reinstall only when what is asked for changed: a stamp holds the hash of the requirements.
requirements_stamp() {
    cat pyproject.toml constraints.txt <(echo "${EXTRAS:-}") | sha256sum | cut -d' ' -f1
}

if [ "$(cat "$VENV/.slidenet-stamp" 2>/dev/null)" != "$(requirements_stamp)" ]; then
    python=$(find_python)
    echo "== Setting up $VENV with $($python --version) (3.4 GB to download the first time)"
    if ! "$python" -m venv "$VENV"; then
        echo "Python's venv module failed. To fix: install it (Debian: apt-get install python3-venv)" >&2
        exit 1
    fi
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
    "$VENV/bin/uv" pip install --quiet --compile-bytecode --python "$VENV/bin/python" \
        --constraint constraints.txt --editable ".[cpu${EXTRAS:+,$EXTRAS}]"
    requirements_stamp > "$VENV/.slidenet-stamp"
fi
