#!/usr/bin/env bash
# A few cores for a look: takes an allocation, and runs a command or a shell in it, from where srun starts ranks.
#   interactive.sh [options of salloc] [COMMAND ...]
# The options below are defaults: yours come later and win.
set -euo pipefail
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
# What srun would otherwise have to be told each time; the scripts for sbatch say why.
export SLURM_MPI_TYPE=${SLURM_MPI_TYPE:-pmi2} SLURM_WAIT=${SLURM_WAIT:-0} SLURM_KILL_BAD_EXIT=0
[[ ! -t 2 ]] || echo "in the allocation: srun python -m caligo.cluster JOB.toml; exit gives it back" >&2
exec salloc --job-name=caligo-debug --nodes=1 --ntasks=4 --cpus-per-task=1 --mem-per-cpu=2G --time=00:30:00 "$@"
