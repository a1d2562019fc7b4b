"""What is loaded: one model at a time, a few offsets, one control network; where it computes and what fits there.

The heavy module of this wing: it imports torch, and is itself imported when the first model is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from core.families import compiling, get, saving
from core.families.base import FamilySpec
from core.families.full_size import decode_in_tiles
from core.generation.comparison import Comparison
from core.generation.inputs import InputImage
from core.generation.rendering import render
from core.generation.watch import Watch
from core.offsets.offset import Offset
from core.studio.comparing.memory import RenderingNeeds, card_room, rendering
from core.studio.library.choose import family_of_base
from core.studio.library.load import load_base, load_control, load_inversion, load_offset

OFFSETS_KEPT = 4


class Files(NamedTuple):
    """Where the parts of a comparison are; what is None takes no part."""

    base: Path
    positive: Path | None
    negative: Path | None
    control: Path | None
    inversions: Mapping[str, Path] = {}
    """Textual inversions that the prompts call, by name."""


class Models:
    """Loads and keeps models.

    Args:
        cpu: stay on the CPU.
        memory: "high", "medium" (whole models move to the device in turn) or "low" (and the VAE works in slices).
    """

    def __init__(self, *, cpu: bool, memory: str) -> None:
        self.cpu, self.memory = cpu, memory
        self.base: Path | None = None
        """The model that is loaded."""
        self.pipe: Any = None
        self._compilation: compiling.Compilation | None = None
        self._offsets: dict[tuple[Path, float], Offset] = {}
        self._control: tuple[Path, Any] | None = None
        self._inversions: dict[tuple[Path, float], Any] = {}

    @property
    def family(self) -> FamilySpec:
        """That of the loaded model."""
        assert self.base is not None
        return get(family_of_base(self.base))

    def device(self) -> str:
        """Where it computes: "cuda", "mps" or "cpu"."""
        if self.cpu:
            return "cpu"
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"

    def load(self, base: Path) -> Any:
        """The pipeline of a base; the one before it is let go first.

        Raises:
            StudioError: it cannot be loaded.
        """
        if self.base != base:
            self.base, self.pipe, self._offsets, self._control = None, None, {}, None
            device = self.device()
            dtype = torch.float16 if device == "cuda" else torch.float32
            ways = saving.chosen()
            in_groups = "group-offload" in ways
            offload = self.memory != "high" and device == "cuda" and not in_groups
            pipe = load_base(base, dtype=dtype, device="cpu" if offload or in_groups else device)
            saving.save_memory(pipe, get(family_of_base(base)), ways, torch.device(device))
            if offload:
                pipe.enable_model_cpu_offload()
            if self.memory == "low":
                pipe.vae.enable_slicing()
                pipe.vae.enable_tiling()
            denoiser = get(family_of_base(base)).denoiser(pipe)
            self._compilation = compiling.Compilation(denoiser) if compiling.chosen() else None
            self.base, self.pipe = base, pipe
        return self.pipe

    def offset(self, path: Path | None) -> Offset | None:
        """An offset for the loaded model; the last few are kept.

        Raises:
            StudioError: it cannot be read, or is for another family.
        """
        if path is None:
            return None
        key = (path, path.stat().st_mtime)
        if key not in self._offsets:
            self._offsets = dict(list(self._offsets.items())[1 - OFFSETS_KEPT :])
            self._offsets[key] = load_offset(path, self.family.name, self.family.denoiser(self.pipe))
        return self._offsets[key]

    def control(self, path: Path | None) -> Any:
        """A control network for the loaded model, on its device; the last one is kept."""
        if path is None:
            return None
        if self._control is None or self._control[0] != path:
            network = load_control(path, self.family.name, self.family.denoiser(self.pipe))
            self._control = (path, network.to(self.pipe._execution_device, self.family.denoiser(self.pipe).dtype))
        return self._control[1]

    def inversions(self, files: Mapping[str, Path]) -> dict[str, Any]:
        """Textual inversions by name; those of the last prompts are kept.

        Raises:
            StudioError: one cannot be read.
        """
        keys = {name: (path, path.stat().st_mtime) for name, path in files.items()}
        self._inversions = {key: self._inversions.get(key) or load_inversion(key[0]) for key in keys.values()}
        return {name: self._inversions[key] for name, key in keys.items()}

    def fitted(self, needs: RenderingNeeds | None, *, loaded: bool) -> tuple[int, bool]:
        """The most rows of a forward, and whether pictures are decoded in tiles: what the card has room for, where there
        is one and the architecture is known."""
        rows = 32 if self.memory == "high" else 4
        if needs is None or self.device() != "cuda":
            return rows, self.memory == "low"
        room = card_room()
        if "group-offload" in saving.chosen():  # only some layers are on the card at once
            return needs.rows_within(room, rows), needs.in_tiles(room)
        if self.memory != "high":
            room -= needs.largest
        elif not loaded:
            room -= needs.fixed
        return needs.rows_within(room, rows), self.memory == "low" or needs.in_tiles(room)

    def needed(self, comparison: Comparison, base: Path) -> int | None:
        """Bytes that a rendering takes at its peak, computed; None where the architecture is not in the table."""
        needs = rendering(base, comparison.height, comparison.width, comparison.frames)
        if needs is None:
            return None
        on_card = self.device() == "cuda"
        rows, in_tiles = self.fitted(needs, loaded=self.base == base)
        in_turns = self.memory != "high" and on_card
        total = needs.total(
            min(max(rows, comparison.least_rows), comparison.rows), in_turns=in_turns, in_tiles=in_tiles
        )
        return total * (1 if on_card else 2)  # float32 on a processor

    def room(self) -> tuple[int, int]:
        """Bytes of the card that are in use here, and that are free."""
        return torch.cuda.memory_reserved(), torch.cuda.mem_get_info()[0]

    def sample(self, comparison: Comparison, files: Files, watch: Watch) -> None:
        """Loads what is not loaded yet and renders; the watch gets the pictures."""
        pipe = self.load(files.base)
        needs = rendering(files.base, comparison.height, comparison.width, comparison.frames)
        positive, negative = self.offset(files.positive), self.offset(files.negative)
        input_image = None
        if comparison.image is not None:
            input_image = InputImage(
                image=comparison.image,
                mask=comparison.mask,
                strength=comparison.strength,
                control=self.control(files.control),
                control_scale=comparison.control_scale,
            )
        max_rows, in_tiles = self.fitted(needs, loaded=True)
        if in_tiles:
            decode_in_tiles(pipe.vae)
        render(
            pipe,
            self.family,
            comparison,
            positive=positive,
            negative=negative,
            inversions=self.inversions(files.inversions),
            input_image=input_image,
            watch=watch,
            max_rows=max_rows,
        )
        if self._compilation and (fault := self._compilation.fault()):
            watch.note(fault)
