"""Job files for other engines: what they run, and that a client is handed the file. The clients are stand-ins."""

import os
import shutil
import subprocess

import pytest

from app.cli import main
from app.job_commands import without_launcher
from core.studio.launchers import FILES, Job

EVALUATE = ["evaluate", "resume", "e1"]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder of a studio whose launch.py only writes down how it was called, and clients that run a file."""
    (tmp_path / "studio").mkdir()
    (tmp_path / "studio" / "launch.py").write_text(
        "import os, sys\nprint(' '.join(sys.argv[1:]), os.environ.get('RANK', ''), file=open('called.txt', 'a'))\n"
    )
    clients = tmp_path / "clients"
    clients.mkdir()
    for name, script in {
        "sbatch": "count=$(sed -n 's/#SBATCH --array=1-//p' $1); for i in $(seq ${count:-1}); do"
        " SLURM_ARRAY_TASK_ID=$i SLURM_ARRAY_TASK_COUNT=$count bash $1 || exit 1; done; echo Submitted batch job 7",
        "srun": '"$@"',
        "python": 'exec python3 "$@"',
        "accelerate": 'shift; while [ "${1#--}" != "$1" ]; do case $1 in --num_processes) n=$2; shift 2;; *) shift;; esac;'
        ' done; for i in $(seq 0 $((${n:-1} - 1))); do RANK=$i WORLD_SIZE=$n python3 "$@" || exit 1; done',
    }.items():
        (clients / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
        (clients / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{clients}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STUDIO", str(tmp_path / "studio"))
    monkeypatch.setenv("SELF_NPO_WORKSPACE", str(tmp_path / "space"))
    monkeypatch.chdir(tmp_path)
    return lambda: (tmp_path / "studio" / "called.txt").read_text().splitlines()


def test_a_cluster_gets_an_array_whose_jobs_do_each_their_share(elsewhere, capsys):
    assert main([*EVALUATE, "--launcher", "slurm", "--jobs", "3", "--submit"]) == 0
    assert "Submitted batch job 7" in capsys.readouterr().out
    assert [line.strip() for line in elsewhere()] == [f"evaluate resume e1 --shard {n}/3" for n in (1, 2, 3)]


def test_a_training_is_one_job(elsewhere):
    assert main(["train", "--recipe", "paper", "--set", "steps=7", "--launcher=slurm", "--submit"]) == 0
    assert [line.strip() for line in elsewhere()] == ["train --recipe paper --set steps=7"]


def test_processes_of_one_machine_know_their_share_from_their_rank(elsewhere):
    assert main([*EVALUATE, "--launcher", "accelerate", "--jobs", "2", "--submit"]) == 0
    assert elsewhere() == ["evaluate resume e1 0", "evaluate resume e1 1"]


@pytest.mark.parametrize("launcher", list(FILES))
def test_every_file_is_valid_and_says_what_it_runs(launcher, tmp_path):
    text = FILES[launcher](Job((*EVALUATE, "a b"), "evaluate-resume-e1", 4, True))
    assert "launch.py evaluate resume e1 'a b'" in text
    script = text
    if launcher == "skypilot":
        script = text.split("run: |\n")[1].replace("\n  ", "\n")
        assert "num_nodes: 4" in text and "SKYPILOT_NODE_RANK + 1" in text
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert checked.returncode == 0, checked.stderr


def test_without_the_client_the_file_is_written_and_the_person_told(elsewhere, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert shutil.which("sky") is None
    assert main([*EVALUATE, "--launcher", "skypilot", "--job-file", "mine.yaml", "--submit"]) == 1
    assert "sky is not installed on this machine" in capsys.readouterr().err
    assert (tmp_path / "mine.yaml").is_file()


def test_a_client_that_refuses_is_quoted(elsewhere, tmp_path, capsys):
    (tmp_path / "clients" / "sbatch").write_text("#!/usr/bin/env bash\necho 'invalid partition' >&2; exit 1\n")
    assert main([*EVALUATE, "--launcher", "slurm", "--submit"]) == 1
    assert "sbatch refused the job: invalid partition" in capsys.readouterr().err


def test_only_the_launchers_own_options_are_left_out():
    line = ["evaluate", "resume", "x", "--launcher", "slurm", "--jobs=3", "--submit", "--cpu", "--job-file", "f"]
    assert without_launcher(line) == ["evaluate", "resume", "x", "--cpu"]
