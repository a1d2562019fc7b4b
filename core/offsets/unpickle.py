"""Turns a PyTorch pickle into safetensors, in a child process with limits: `python -m core.offsets.unpickle IN OUT`.

`weights_only=True` is no boundary by itself, so the child may use little memory, little time, and no file larger than
its bound; where it dies, its parent lives and says so. Unsafe loading is never tried.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.offsets.header import is_pickle, read_header

SECONDS = 600
ROOT = Path(__file__).resolve().parents[2]


def convert_pickle(path: Path, out: Path, *, seconds: int = SECONDS, memory: int | None = None) -> None:
    """Converts; `out` is written whole, or not at all.

    Args:
        seconds: the child's time.
        memory: bytes the child may use; None is three times the file and 3 GiB for the libraries.

    Raises:
        StudioError: no state dictionary of plain tensors, or more than the limits allow.
    """
    if not is_pickle(path):
        raise StudioError(f"“{path.name}” is not a PyTorch file.", "Choose a .ckpt, .pt, .pth or .bin file of weights.")
    limit = memory or 3 * path.stat().st_size + 3 * 2**30
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        staged = Path(folder) / "converted.safetensors"
        command = [sys.executable, "-m", "core.offsets.unpickle", str(path.resolve()), str(staged), str(limit)]
        environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        environment |= {key: os.environ[key] for key in ("SYSTEMROOT", "LD_LIBRARY_PATH") if key in os.environ}
        try:
            ended = subprocess.run(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds
            )
        except subprocess.TimeoutExpired as error:
            raise StudioError(
                f"“{path.name}” took longer than {seconds} s to read.", "It is damaged, or no weights."
            ) from error
        if ended.returncode != 0 or not staged.is_file():
            said = ended.stdout.decode(errors="replace").strip().splitlines()
            reason = said[-1][:160] if said else "it needs more memory than its size allows, or is damaged"
            raise StudioError(
                f"“{path.name}” could not be converted: {reason}.", "Nothing of it was run. Fetch it as safetensors."
            )
        read_header(staged)
        os.replace(staged, out)


def _flat(told: Any, prefix: str, found: dict[str, Any], depth: int = 0) -> None:
    """All tensors of nested dictionaries, dotted; the usual outer names are left out."""
    import torch

    if depth > 6:
        raise ValueError("it is nested too deeply")
    for key, value in told.items():
        if not isinstance(key, str):
            continue
        name = (
            prefix
            if key in ("state_dict", "module", "model_state_dict") and isinstance(value, dict)
            else f"{prefix}{key}"
        )
        if isinstance(value, torch.Tensor):
            found[name] = value
        elif isinstance(value, dict):
            _flat(value, name if name == prefix else f"{name}.", found, depth + 1)


def _child(path: Path, out: Path, limit: int) -> int:
    """Runs in the child."""
    import torch
    from safetensors.torch import save_file

    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * path.stat().st_size + 2**20,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        print("this system cannot limit the reader")  # no limits, no reading
        return 1
    try:
        told = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(told, dict):
            raise ValueError("it holds no dictionary of weights")
        found: dict[str, Any] = {}
        _flat(told, "", found)
        if not found:
            raise ValueError("it holds no tensor")
        size = path.stat().st_size
        tensors = {}
        for name, tensor in found.items():
            if tensor.layout != torch.strided or tensor.is_quantized:
                raise ValueError(f"{name[:80]} is no plain tensor")
            if tensor.numel() * tensor.element_size() > 2 * size:
                raise ValueError(f"{name[:80]} says it is larger than the file")
            tensors[name.replace("/", ".")] = tensor.detach().clone().contiguous()
        save_file(tensors, out, metadata={"format": "pt", "converted_from": json.dumps(path.name)})
    except MemoryError:
        print("it needs more memory than its size allows")
        return 1
    except Exception as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        unsafe = "Unsupported" in str(error) or "weights_only" in str(error) or "Weights only" in str(error)
        print("it holds code, not only weights" if unsafe else text.replace(str(path), path.name)[:160])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_child(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
