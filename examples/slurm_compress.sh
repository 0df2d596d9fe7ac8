#!/bin/bash
#SBATCH --job-name=compress
#SBATCH --requeue
# Compress on a Slurm cluster: a task of an array for each part, then a job that joins them. On the login node:
#
#   CPUS=8 bash examples/slurm_compress.sh 64 /shared/codes --model=/shared/model --source=/shared/vectors [--ids_column=id]
#
# submits both: 64 parts of 8 cores each. The other flags are those of launch/compress.py; `compressae` must be in PATH on
# the nodes. A part whose process was killed goes back to the queue and continues, up to three times; the same command again
# makes only what is missing. Parts lie in /shared/codes.parts. Partition, time and the like: lines like those above.
set -euo pipefail
parts=$1 out=$2
shift 2
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    export COMPRESSAE_THREADS=${SLURM_CPUS_PER_TASK:-1}
    part=(--part="$SLURM_ARRAY_TASK_ID/$parts" --out="$out.parts/$SLURM_ARRAY_TASK_ID")
    compressae compress "$@" "${part[@]}" --noprogress || code=$?
    if [ "${code:-0}" -gt 2 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 3 ]; then
        scontrol requeue "$SLURM_JOB_ID" # it was killed; bad input would be 2, and a full disk 1
    fi
    exit "${code:-0}"
elif [ -n "${SLURM_JOB_ID:-}" ]; then
    compressae join --parts="$out.parts/*" --out="$out"
else
    array=$(sbatch --parsable --array="1-$parts" --cpus-per-task="${CPUS:-8}" "$0" "$parts" "$out" "$@")
    sbatch --dependency="afterok:${array%%;*}" --kill-on-invalid-dep=yes "$0" "$parts" "$out" "$@"
fi
