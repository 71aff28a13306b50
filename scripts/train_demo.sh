#!/usr/bin/env bash
# Generates slides whose label only positions tell, embeds them, cross-validates ABMIL and LongNet
# on them, and says in one sentence which wins. Offline, CPU; everything lies in train_demo_output/.
set -euo pipefail
EXTRAS="${EXTRAS:-testing}" source "$(dirname "$0")/setup_env.sh"

out=train_demo_output
started=$SECONDS
step() { echo "== [$((SECONDS - started)) s] $1"; }

# Steps below run one process per core with one thread each: small networks gain nothing from more.
export OMP_NUM_THREADS=1

if [ ! -f $out/cohort/slides.csv ]; then
    step "Generating a cohort of slides with two lesions each, near each other or far apart"
    "$VENV/bin/python" scripts/make_lesion_cohort.py $out/cohort --num-patients 60 --seed 1
fi
step "Slides to tile features"
"$VENV/bin/slidenet" run --config configs/run/train_demo.yaml > $out/run.txt
tail -n 1 $out/run.txt

step "Audit"
"$VENV/bin/slidenet" audit --config configs/train/demo_abmil.yaml

step "Cross-validating ABMIL and LongNet, five folds of patients each"
"$VENV/bin/slidenet" crossval --config configs/train/demo_abmil.yaml > $out/abmil.txt 2>&1 &
abmil=$!
"$VENV/bin/slidenet" crossval --config configs/train/demo_longnet.yaml > $out/longnet.txt 2>&1 ||
    { cat $out/longnet.txt >&2; exit 1; }
wait $abmil || { cat $out/abmil.txt >&2; exit 1; }

step "Report"
"$VENV/bin/slidenet" evaluate $out/longnet/predictions.csv --compare $out/abmil/predictions.csv \
    --out $out/report
step "Done. Open $out/report/report.md; its pictures lie beside it"
