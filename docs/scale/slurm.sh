#!/usr/bin/env bash
# An evaluation over 16 cards of a cluster with a common disk.
#   sbatch docs/scale/slurm.sh ID          after `evaluate run … --create` and `evaluate resume ID --shard 1/16`
#SBATCH --job-name=evaluate
#SBATCH --array=1-16
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --mem=32G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=evaluate-%A-%a.log
set -euo pipefail

STUDIO=${STUDIO:-$HOME/self-npo-studio}
export SELF_NPO_WORKSPACE=${SELF_NPO_WORKSPACE:-$HOME/self-npo-workspace}
id=${1:?the id of the evaluation}

cd "$STUDIO"
# a requeued job passes over the chunks that are there; whoever does the last one writes the report
srun python launch.py evaluate resume "$id" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
