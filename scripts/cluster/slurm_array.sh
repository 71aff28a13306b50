#!/usr/bin/env bash
# An array of jobs that drain one list of slides, and a last one that says how it went:
#   array=$(sbatch --parsable slurm_array.sh slides.csv out)
#   sbatch --dependency=afterany:"$array" --array=0 slurm_array.sh slides.csv out
# What follows the two names are further flags of `slidenet run`.
#SBATCH --job-name=slidenet
#SBATCH --output=slidenet-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --array=0-7
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@180
# With a GPU each: #SBATCH --gres=gpu:1
set -u
slides=$1 out=$2
shift 2

again=no
trap 'kill -TERM $!' TERM             # cancelled or preempted: let slidenet end tidily
trap 'again=yes; kill -TERM $!' USR1  # three minutes left (--signal): that, and queue again
slidenet run --slides "$slides" --out "$out" "$@" &
wait $!
wait $!  # a signal ends the first wait; where none came, this one only repeats the exit code
code=$?

if [ "$again" = yes ] && [ "$code" = 143 ]; then
    exec scontrol requeue "$SLURM_JOB_ID"
fi
if [ "$code" = 75 ] && [ "${SLURM_ARRAY_TASK_COUNT:-1}" -gt 1 ]; then
    echo "Other jobs of this array are at the last slides; this one is not needed any more."
    exit 0
fi
exit "$code"
