"""Processes of this program: how several are launched together, and whether one that a file names still lives, by its id and
start time, so that a reboot or another program under the same id never passes for it. No torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil


def cuda_devices() -> int:
    """CUDA devices on this machine, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    try:
        import pynvml

        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except Exception:  # no driver, no card, or no library: the CPU does the work
        return 0


def launched(worker: list[str], *, cpu: bool, processes: int = 0, precision: str = "no") -> list[str]:
    """The command that runs a module as a detached worker: under a launcher where there is more than one process.

    Args:
        worker: arguments of Python: `-m`, the module, and its own.
        processes: how many; 0 is one for each CUDA device, and one on a CPU.
        precision: accelerate's mixed precision.
    """
    count = processes or (1 if cpu else max(1, cuda_devices()))
    if count == 1:
        return [sys.executable, *worker]
    if cpu:  # accelerate's own launcher starts several processes on a CPU through MPI alone
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    else:
        launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(count)]
        launch += ["--num_machines", "1", "--mixed_precision", precision, "--dynamo_backend", "no"]
    return [sys.executable, *launch, *worker]


def identity(process: psutil.Process) -> dict[str, Any]:
    """What `living` knows a process again by."""
    return {"pid": process.pid, "started": process.create_time(), "since_boot": _since_boot(process.pid)}


def living(record: Mapping[str, Any]) -> psutil.Process | None:
    """The process of an `identity`, if it still runs and is not a zombie."""
    try:
        process = psutil.Process(int(record["pid"]))
        if record.get("since_boot") and (mark := _since_boot(process.pid)):
            same = mark == record["since_boot"]
        else:
            same = abs(process.create_time() - float(record["started"])) < 2.0
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (ValueError, KeyError, TypeError, OverflowError, psutil.Error):
        return None


def _since_boot(pid: int) -> str:
    """This boot of the machine and the clock ticks from it to the start of a process, on Linux; empty elsewhere. The time
    of day at which a process started is computed from the machine's clock there, and moves when that is set."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return f"{boot} {after_name[19]}"  # field 22, starttime; the first after the name is field 3
    except (OSError, IndexError):
        return ""


def end_family(process: psutil.Process, patience: float = 4.0) -> None:
    """Ends a process with all that it started: asked first, forced after `patience` seconds."""
    try:
        family = [*process.children(recursive=True), process]
    except psutil.Error:
        return  # it has ended by itself
    for member in family:
        with suppress(psutil.Error):
            member.terminate()
    _, alive = psutil.wait_procs(family, timeout=patience)
    for member in alive:
        with suppress(psutil.Error):
            member.kill()
