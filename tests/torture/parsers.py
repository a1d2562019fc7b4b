"""Mutated files and texts for everything that reads what strangers made: a value or a sentence, in bounded time and memory."""

from __future__ import annotations

import io
import json
import random
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from core.errors import StudioError
from tests.torture.tally import Tally

SECONDS, MEMORY = 3.0, 2**30
"""The longest that one input may take (a pickle starts a process that has its own limit), and bytes to grow by."""
TOKENS = [
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"NaN",
    b"-1",
    b"1e999",
    b"9" * 30,
    b"\\ud800",
    b"../",
    b"\0",
]
TOKENS += [
    b"[" * 2000,
    b"\xff\xfe",
    b"F32",
    b"data_offsets",
    b"shape",
    b"__metadata__",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
]


def mutated(data: bytes, dice: random.Random) -> bytes:
    """A few random changes: bits, cuts, repeats, tokens that parsers dislike, lengths that lie."""
    out = bytearray(data)
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(out) + 1)
        match dice.randrange(7):
            case 0 if out:
                out[at % len(out)] ^= 1 << dice.randrange(8)
            case 1:
                del out[at:]
            case 2:
                out[at:at] = dice.choice(TOKENS)
            case 3:
                end = min(len(out), at + dice.randrange(1, 64))
                out[at:at] = out[at:end] * dice.randrange(1, 20)
            case 4:
                del out[at : at + dice.randrange(1, 32)]
            case 5 if len(out) >= 8:
                out[:8] = struct.pack("<Q", dice.choice((0, 1, 2**31, 2**63, dice.randrange(2**16))))
            case _:
                out[at : at + 4] = dice.randbytes(4)
    return bytes(out)


def _safetensors() -> bytes:
    import torch
    from safetensors.torch import save

    layer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    return save(
        {f"{layer}.lora_A.weight": torch.ones(2, 8), f"{layer}.lora_B.weight": torch.ones(8, 2)}, {"family": "sd15"}
    )


def _inversion() -> bytes:
    import torch
    from safetensors.torch import save

    return save({"clip_l": torch.ones(2, 768), "clip_g": torch.ones(2, 1280)})


def _t2i_adapter() -> bytes:
    import torch
    from safetensors.torch import save

    sizes = {
        "conv_in": (4, 192, 3, 3),
        "body.0.block1": (4, 4, 3, 3),
        "body.0.block2": (4, 4, 1, 1),
        "body.2.in_conv": (8, 4, 1, 1),
    }
    return save({f"{name}.weight": torch.ones(size) for name, size in sizes.items()})


def _png() -> bytes:
    from PIL import Image, PngImagePlugin

    from core.generation.media import CHUNK

    info, file = PngImagePlugin.PngInfo(), io.BytesIO()
    settings = {"prompt": "a", "seed": 1, "omega": 2.0, "beta": 1.0, "images": 2, "grid": {"beta": [0, 1]}}
    info.add_itxt(CHUNK, json.dumps(settings))
    info.add_itxt("parameters", "a\nNegative prompt: b\nSteps: 20, Sampler: DDIM, CFG scale: 7, Seed: 1, Size: 512x512")
    Image.new("RGB", (4, 4)).save(file, format="PNG", pnginfo=info)
    return file.getvalue()


def _preset() -> bytes:
    from core.studio.workspace import ASSETS

    return next((ASSETS.parent / "presets" / "sd15").glob("*.json")).read_bytes()


def _events() -> bytes:
    from core.errors import Sentence
    from core.events import Notice, StepDone, to_json

    step = StepDone(step=1, loss=1.0, learning_rate=1.0, gradient_norm=1.0, rate=1.0, memory=1)
    notice = Notice(message=Sentence("“{name}” does not exist.", name="a"))
    return "".join(json.dumps(to_json(event)) + "\n" for event in (step, notice)).encode()


def _config() -> bytes:
    from core.training.config import TrainConfig

    return json.dumps(TrainConfig().to_dict()).encode()


def read_weights(path: Path) -> object:
    from core.studio.library.entries import kind_of

    return kind_of(path.rename(path.with_suffix(".safetensors")))


def read_inversion(path: Path) -> object:
    from core.offsets import textual_inversion

    file = path.rename(path.with_suffix(".safetensors"))
    return read_weights(file), textual_inversion.read_inversion(file)


def read_t2i_adapter(path: Path) -> object:
    from core.offsets import t2i_adapter

    file = path.rename(path.with_suffix(".safetensors"))
    return read_weights(file), t2i_adapter.read_t2i_adapter(file)


def read_picture(path: Path) -> object:
    from core.generation.media import read_settings

    return read_settings(path.rename(path.with_suffix(".png")))


def read_gallery(path: Path) -> object:
    from core.studio.comparing.gallery import pictures
    from core.studio.workspace import Workspace

    workspace = Workspace(path.parent / "space")
    path.rename(workspace.outputs / "a.png")
    return [picture.caption for picture in pictures(workspace)]


def read_shared_preset(path: Path) -> object:
    from core.studio.presets.reading import read_preset

    return read_preset(path.rename(path.with_suffix(".json")))


def read_link(path: Path) -> object:
    from core.studio.presets.sharing import from_link

    return from_link(path.read_bytes().decode("latin-1"))


def read_journal(path: Path) -> object:
    from core.studio.runs.journal import FILE, read_events, read_newest

    path.rename(path.with_name(FILE))
    events, _ = read_events(path.parent)
    assert len(read_newest(path.parent)) <= len(events)
    return events


def read_run(path: Path) -> object:
    from core.studio.runs.run import Run

    (path.parent / "run").mkdir(exist_ok=True)
    path.rename(path.parent / "run" / "config.json")
    return Run(path.parent / "run").summary()


def read_model(path: Path) -> object:
    from core.studio.library.entries import kind_of

    (path.parent / "model").mkdir(exist_ok=True)
    path.rename(path.parent / "model" / "model_index.json")
    return kind_of(path.parent / "model")


def read_parameters(path: Path) -> object:
    from core.generation.foreign_metadata import parse_comfyui, parse_parameters

    text = path.read_bytes().decode("utf-8", errors="replace")
    return parse_parameters(text), parse_comfyui(text)


def read_pickle(path: Path) -> object:
    from core.offsets.unpickle import convert_pickle

    return convert_pickle(path, path.with_suffix(".safetensors"))


def _pickle() -> bytes:
    import torch

    file = io.BytesIO()
    torch.save({"a": torch.ones(3)}, file)
    return file.getvalue()


COMFY = json.dumps(
    {
        "3": {
            "class_type": "KSampler",
            "inputs": {"cfg": 7, "steps": 5, "seed": 1, "positive": ["6", 0], "negative": ["7", 0]},
        },
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a"}},
    }
).encode()


def _link() -> bytes:
    from core.studio.presets.reading import read_preset
    from core.studio.presets.sharing import to_link
    from core.studio.workspace import ASSETS

    return to_link(read_preset(next((ASSETS.parent / "presets" / "sd15").glob("*.json")))).encode()


PARSERS: dict[str, tuple[Callable[[], bytes], Callable[[Path], object]]] = {
    "weights": (_safetensors, read_weights),
    "inversion": (_inversion, read_inversion),
    "adapter": (_t2i_adapter, read_t2i_adapter),
    "picture": (_png, read_picture),
    "gallery": (_png, read_gallery),
    "preset": (_preset, read_shared_preset),
    "link": (_link, read_link),
    "journal": (_events, read_journal),
    "run": (_config, read_run),
    "model": (lambda: b'{"_class_name": "StableDiffusionPipeline", "unet": ["a", "b"]}', read_model),
    "comfyui": (lambda: COMFY, read_parameters),
    "parameters": (lambda: b"a\nNegative prompt: b\nSteps: 20, Sampler: DDIM, CFG scale: 7, Seed: 1", read_parameters),
    "pickle": (_pickle, read_pickle),
}
SLOW = {"pickle": 40}
"""Parsers that start a process for each input get this fraction of the tries: one in so many."""


def limit_memory() -> None:
    """No more than `MEMORY` beyond what the libraries take already; on Linux, where it can be said."""
    if sys.platform == "linux":
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, resource.RLIM_INFINITY))


def fuzz(
    root: Path, *, parsers: list[str] | None = None, count: int = 200, seconds: float = 0.0, seed: int = 0
) -> Tally:
    """Feeds each parser `count` mutated inputs, or as many as fit into `seconds` where that is given."""
    tally = Tally("parsers", seed)
    samples = {name: PARSERS[name][0]() for name in parsers or PARSERS}
    limit_memory()
    for name, sample in samples.items():
        dice = random.Random(f"{seed} {name}")
        tries = max(3, count // SLOW.get(name, 1))
        until = time.monotonic() + seconds
        number = 0
        while time.monotonic() < until if seconds else number < tries:
            number += 1
            _one(name, mutated(sample, dice), root / f"{name}-{number}", tally)
    return tally


def _one(name: str, data: bytes, folder: Path, tally: Tally) -> None:
    import shutil

    folder.mkdir(parents=True)
    path = folder / "input"
    path.write_bytes(data)
    began = time.monotonic()
    problem = ""
    try:
        PARSERS[name][1](path)
        tally.count("read")
    except StudioError as error:
        tally.count("refused in a sentence")
        if str(folder) in str(error):
            problem = f"shows a path: {error}"
    except BaseException as error:  # anything else is what is looked for
        problem = f"{type(error).__name__}: {error!s:.200}"
    tally.tries += 1
    if (took := time.monotonic() - began) > (90.0 if name in SLOW else SECONDS):
        problem = problem or f"took {took:.1f} s"
    if problem:
        tally.failures.append(f"{name} {folder.name}: {problem} (input {data[:60]!r}…, {len(data)} bytes)")
    shutil.rmtree(folder)
