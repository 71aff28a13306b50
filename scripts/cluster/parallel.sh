#!/usr/bin/env bash
# Jobs on machines that share a disk, started by GNU parallel over ssh; no scheduler is needed.
#   parallel.sh nodes.txt slides.csv out
# nodes.txt holds a line per machine with its number of jobs: 2/node07; the machine `:` is this one.
# What follows the three names are further flags of `slidenet run`.
set -u
nodes=$1 slides=$2 out=$3
shift 3

# As many jobs as the file says. SIGTERM may take 30 s, while slidenet ends tidily.
jobs=$(awk -F/ '{ sum += $1 } END { print sum + 0 }' "$nodes")
seq "$jobs" | parallel -N0 --sshloginfile "$nodes" --jobs 100% --workdir "$PWD" --tag --line-buffer \
    --termseq TERM,30000,KILL,1000 --quote slidenet run --slides "$slides" --out "$out" "$@" ||
    echo "Some jobs ended early; the last one sees to what is left." >&2

# Nothing left to do takes seconds; a machine that was lost leaves its slides to this one.
exec slidenet run --slides "$slides" --out "$out" "$@"
