"""Job files that run a command of the studio elsewhere: other people's engines do the work, and the file says what to run. No torch.

accelerate  several processes on one machine, each with its share
slurm       an array of jobs on a cluster with a common disk
skypilot    machines of any cloud that mount one bucket
hf-jobs     Hugging Face Jobs; the workspace travels through a private dataset
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import StudioError
from core.files import write_text

SUBMIT = {
    "accelerate": ("bash",),
    "slurm": ("sbatch",),
    "skypilot": ("sky", "jobs", "launch", "-y"),
    "hf-jobs": ("bash",),
}
"""What hands a job file over, by launcher."""
CLIENTS = {"accelerate": "accelerate", "slurm": "sbatch", "skypilot": "sky", "hf-jobs": "hf"}
"""The program that must be installed for it."""


@dataclass(frozen=True)
class Job:
    """A command to run elsewhere.

    Args:
        command: of the studio, without `launch.py`: ("evaluate", "resume", "ID").
        name: of the job, letters, digits and dashes.
        count: machines or processes that share the work; 1 for a command that has no shares.
        sharded: whether each takes its share by `--shard`.
    """

    command: tuple[str, ...]
    name: str
    count: int
    sharded: bool

    def line(self, shard: str = "") -> str:
        """The command as a shell writes it; `shard` is put in as it is, so that a shell may fill it in."""
        words = shlex.join(("launch.py", *self.command))
        return f"{words} --shard {shard}" if self.sharded and shard else words


def _accelerate(job: Job) -> str:
    processes = f"--num_processes {job.count} " if job.count > 1 else ""
    many = "--multi_gpu " if job.count > 1 else ""
    return f"""#!/usr/bin/env bash
# {job.name}: {job.count} processes on this machine; each knows its share from its rank.
set -euo pipefail
cd "${{STUDIO:?the folder of the studio}}"
accelerate launch {many}{processes}{job.line()}
"""


def _slurm(job: Job) -> str:
    array = f"#SBATCH --array=1-{job.count}\n" if job.sharded else ""
    return f"""#!/usr/bin/env bash
#SBATCH --job-name={job.name}
{array}#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --output={job.name}-%A-%a.log
# A job that is put back into the queue goes on where it was: what is done stays on the common disk.
set -euo pipefail
cd "${{STUDIO:?the folder of the studio, on the common disk}}"
export SELF_NPO_WORKSPACE="${{SELF_NPO_WORKSPACE:?the workspace, on the common disk}}"
srun python {job.line('"$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"')}
"""


def _skypilot(job: Job) -> str:
    line = job.line("$((SKYPILOT_NODE_RANK + 1))/$SKYPILOT_NUM_NODES")
    return f"""name: {job.name}
num_nodes: {job.count}
workdir: .

resources:
  accelerators: A10G:1
  use_spot: true

envs:
  BUCKET:

file_mounts:
  /workspace:
    source: ${{BUCKET}}
    mode: MOUNT

setup: |
  pip install -r requirements.txt

# A bucket has no locks: each node works in a folder of its own and copies what it made back.
run: |
  set -e
  mine=/workspace/done/{job.name}/$SKYPILOT_NODE_RANK
  mkdir -p /tmp/workspace $mine
  cp -r /workspace/models /workspace/offsets /workspace/runs /workspace/evaluations /tmp/workspace/ 2>/dev/null || true
  cp -r $mine/. /tmp/workspace/
  SELF_NPO_WORKSPACE=/tmp/workspace python {line}
  cp -r /tmp/workspace/runs /tmp/workspace/evaluations $mine/ 2>/dev/null || true
"""


def _hf_jobs(job: Job) -> str:
    line = job.line(f"$shard/{job.count}")
    return f"""#!/usr/bin/env bash
# {job.name}: {job.count} Hugging Face Jobs; the workspace travels through a private dataset.
set -euo pipefail
dataset=${{DATASET:?a dataset of yours, USER/NAME}} studio=${{REPOSITORY:?the address of a git repository with the studio}}
workspace=${{SELF_NPO_WORKSPACE:?the workspace}} flavor=${{FLAVOR:-a10g-small}}
hf upload "$dataset" "$workspace" start --repo-type dataset --private
for shard in $(seq {job.count}); do
    hf jobs run --detach --flavor "$flavor" --timeout 12h --secrets HF_TOKEN python:3.11 bash -c "
        set -e
        git clone --depth 1 $studio studio && cd studio
        pip install -q -r requirements.txt
        hf download $dataset --repo-type dataset --include 'start/*' --local-dir /tmp/work
        SELF_NPO_WORKSPACE=/tmp/work/start python {line}
        hf upload $dataset /tmp/work/start done/$shard --repo-type dataset"
done
"""


FILES = {"accelerate": _accelerate, "slurm": _slurm, "skypilot": _skypilot, "hf-jobs": _hf_jobs}
"""The text of a job file, by launcher."""


def write_job(launcher: str, job: Job, path: Path) -> None:
    """Writes the job file.

    Raises:
        StudioError: it cannot be written.
    """
    write_text(path, FILES[launcher](job))


def submit(launcher: str, path: Path, arguments: Sequence[str] = ()) -> str:
    """Hands a job file to its client; what the client printed.

    Raises:
        StudioError: the client is not installed, or refused.
    """
    client = CLIENTS[launcher]
    if shutil.which(client) is None:
        raise StudioError(
            "{client} is not installed on this machine.",
            "Install it, or submit {file} by hand.",
            client=client,
            file=path.name,
        )
    ended = subprocess.run([*SUBMIT[launcher], str(path), *arguments], capture_output=True, text=True)
    if ended.returncode:
        raise StudioError(
            "{client} refused the job: {reason}.",
            "Correct {file} and submit it by hand.",
            client=client,
            file=path.name,
            reason=(ended.stderr.strip().splitlines() or ["no reason given"])[-1][:200],
        )
    return ended.stdout
