#!/usr/bin/env bash
# An evaluation over 4 Hugging Face Jobs; its folder travels through a private dataset.
#   bash docs/scale/hf-jobs.sh ID USER/DATASET       after `evaluate run … --create` and `evaluate resume ID --shard 1/4`
set -euo pipefail
id=${1:?the id of the evaluation} dataset=${2:?a dataset of yours, USER/NAME}
studio=${STUDIO:?the address of a git repository with the studio}
jobs=${JOBS:-4} flavor=${FLAVOR:-a10g-small}
workspace=${SELF_NPO_WORKSPACE:?the workspace with the evaluation}

hf upload "$dataset" "$workspace/evaluations/$id" "start/$id" --repo-type dataset --private
for folder in offsets models scorers; do
    [ -d "$workspace/$folder" ] && hf upload "$dataset" "$workspace/$folder" "$folder" --repo-type dataset --private
done

for shard in $(seq "$jobs"); do
    hf jobs run --detach --flavor "$flavor" --timeout 4h --secrets HF_TOKEN python:3.11 bash -c "
        set -e
        git clone --depth 1 $studio studio && cd studio
        pip install -q -r requirements.txt
        export SELF_NPO_WORKSPACE=/tmp/workspace
        hf download $dataset --repo-type dataset --local-dir /tmp/workspace
        mkdir -p /tmp/workspace/evaluations && mv /tmp/workspace/start/$id /tmp/workspace/evaluations/
        python -m app evaluate resume $id --shard $shard/$jobs
        hf upload $dataset /tmp/workspace/evaluations/$id done/$shard --repo-type dataset"
done

echo "When all have ended (hf jobs ps):"
echo "  hf download $dataset --repo-type dataset --include 'done/*' --local-dir back"
echo "  python launch.py evaluate merge $id back/done/*"
