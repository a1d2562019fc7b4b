"""Turns a PyTorch pickle into safetensors, in a child process with limits: `python -m core.offsets.unpickle IN OUT`.

`weights_only=True` is no boundary by itself, so the child may use little memory, little time, and no file larger than
its bound; where it dies, its parent lives and says so. Unsafe loading is never tried. Tensors are copied one by one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.errors import StudioError
from core.offsets.header import DATA_TYPES, encoded_header, first_bytes, is_pickle, read_header

SECONDS = 600
ROOT = Path(__file__).resolve().parents[2]


def convert_pickle(path: Path, out: Path, *, seconds: int = SECONDS, memory: int | None = None) -> None:
    """Converts; `out` is written whole, or not at all.

    Args:
        seconds: the child's time.
        memory: addresses the child may use, in bytes; None is three times the file and 3 GiB for the libraries. Of a file
            that torch.save wrote in its present form, one tensor at a time is in memory.

    Raises:
        StudioError: no state dictionary of plain tensors, or more than the limits allow.
    """
    if not is_pickle(path):
        raise StudioError(
            "“{name}” is not a PyTorch file.", "Choose a .ckpt, .pt, .pth or .bin file of weights.", name=path.name
        )
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
                "“{name}” took longer than {seconds} s to read.",
                "It is damaged or does not contain weights.",
                name=path.name,
                seconds=seconds,
            ) from error
        if ended.returncode != 0 or not staged.is_file():
            lines = ended.stdout.decode(errors="replace").strip().splitlines()
            reason = lines[-1][:160] if lines else "it needs more memory than its size allows, or is damaged"
            raise StudioError(
                "“{name}” could not be converted: {reason}.",
                "None of its code was run. Download it as safetensors.",
                name=path.name,
                reason=reason,
            )
        read_header(staged)
        os.replace(staged, out)


def _flat(values: Any, prefix: str, tensors: dict[str, Any], depth: int = 0) -> None:
    """All tensors of nested dictionaries, dotted; the usual outer names are left out."""
    import torch

    if depth > 6:
        raise ValueError("it is nested too deeply")
    for key, value in values.items():
        if not isinstance(key, str):
            continue
        name = (
            prefix
            if key in ("state_dict", "module", "model_state_dict") and isinstance(value, dict)
            else f"{prefix}{key}"
        )
        if isinstance(value, torch.Tensor):
            tensors[name] = value
        elif isinstance(value, dict):
            _flat(value, name if name == prefix else f"{name}.", tensors, depth + 1)


def _forget(tensor: Any) -> None:
    """Takes the pages of a mapped file that a tensor was read from out of memory again, where the system can."""
    import ctypes

    with suppress(OSError, AttributeError, TypeError):
        page = os.sysconf("SC_PAGE_SIZE")
        storage = tensor.untyped_storage()
        begin = -(-storage.data_ptr() // page) * page
        length = (storage.data_ptr() + storage.nbytes() - begin) // page * page
        if length > 0 and sys.platform == "linux":
            ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(length), 4)  # MADV_DONTNEED


def _write(tensors: dict[str, Any], out: Path, metadata: dict[str, str], *, mapped: bool, size: int) -> None:
    """Writes a safetensors file tensor by tensor, so that one of them is in memory at a time."""
    import torch

    names = {kind.torch_name: name for name, kind in DATA_TYPES.items()}
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, tensor in tensors.items():
        dtype = names.get(str(tensor.dtype).removeprefix("torch."))
        if tensor.layout != torch.strided or tensor.is_quantized or dtype is None:
            raise ValueError(f"{name[:80]} is not a plain tensor")
        if tensor.numel() * tensor.element_size() > 2 * size:
            raise ValueError(f"{name[:80]} says it is larger than the file")
        kinds[name] = dtype, tuple(tensor.shape)
    with out.open("wb") as file:
        file.write(encoded_header(kinds, metadata))
        for tensor in tensors.values():
            flat = tensor.detach().contiguous().reshape(-1)
            for part in flat.split(2**24) if len(flat) else ():
                file.write(part.view(torch.uint8).numpy().data)
            if mapped:
                _forget(tensor)


def _child(path: Path, out: Path, limit: int) -> int:
    """Runs in the child."""
    import torch

    size = path.stat().st_size
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * size + 2**20,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        print("this system cannot limit the reader")  # no limits, no reading
        return 1
    try:
        # a zip is mapped, and its tensors are copied one by one; a legacy pickle cannot be
        mapped = first_bytes(path).startswith(b"PK")
        values = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        if not isinstance(values, dict):
            raise ValueError("it does not hold a dictionary of weights")
        flat: dict[str, Any] = {}
        _flat(values, "", flat)
        if not flat:
            raise ValueError("it holds no tensor")
        tensors = {name.replace("/", "."): tensor for name, tensor in flat.items()}
        metadata = {"format": "pt", "converted_from": json.dumps(path.name)}
        _write(tensors, out, metadata, mapped=mapped, size=size)
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
