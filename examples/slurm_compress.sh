#!/bin/bash
#SBATCH --job-name=compress
#SBATCH --cpus-per-task=8
#SBATCH --requeue
# Compress on a Slurm cluster: a task of an array for each part, then a job that joins them. On the login node:
#
#   bash examples/slurm_compress.sh 64 /shared/codes --model=/shared/model --source=/shared/vectors [--ids_column=id …]
#
# submits both (64 parts; the other flags are those of launch/compress.py; `compressae` must be in PATH on the nodes).
# A task that was killed or requeued continues; the same command again makes only what is missing. Parts lie beside the
# codes, in /shared/codes.parts. Other options of sbatch (partition, time) go into SBATCH_… variables or the lines above.
set -euo pipefail
parts=$1 out=$2
shift 2
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    export COMPRESSAE_THREADS=${SLURM_CPUS_PER_TASK:-1}
    compressae compress "$@" --part="$SLURM_ARRAY_TASK_ID/$parts" --out="$out.parts/$SLURM_ARRAY_TASK_ID" --noprogress
elif [ -n "${SLURM_JOB_ID:-}" ]; then
    compressae join --parts="$out.parts/*" --out="$out"
else
    array=$(sbatch --parsable --array="1-$parts" "$0" "$parts" "$out" "$@")
    sbatch --dependency="afterok:$array" --cpus-per-task=1 "$0" "$parts" "$out" "$@"
fi
