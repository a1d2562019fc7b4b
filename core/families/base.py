"""What the rest of the studio may ask of a model family: a record of facts and callables, no class tower.

A family adapts its stock diffusers pipeline to the method: conditioning is a dictionary of row-first tensors,
a prediction is the raw output of the denoiser, latents are scaled as the denoiser sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import Sentence, StudioError

Conditioning = dict[str, Tensor]
"""What the denoiser gets besides x_t and t. Every tensor has the batch as its first axis."""


def join(first: Conditioning, second: Conditioning) -> Conditioning:
    """Two conditionings as one batch, `first` in front."""
    return {name: torch.cat([first[name], second[name]]) for name in first}


def take(cond: Conditioning, rows: Any) -> Conditioning:
    """The chosen rows of a conditioning: an index, a slice or a LongTensor."""
    return {name: tensor[rows] for name, tensor in cond.items()}


@dataclass(frozen=True)
class Size:
    """Of a picture, or of a video's frames. Pixels; frames count in time."""

    height: int
    width: int
    frames: int = 1

    def with_chosen(self, height: int, width: int, frames: int) -> Size:
        """This size with what is chosen in its place; 0 chooses nothing."""
        return Size(height or self.height, width or self.width, frames or self.frames)


@dataclass(frozen=True, kw_only=True)
class FamilyDefaults:
    """Where a person of this family usually begins. omega as in the papers (guidance_scale - 1); fps 0 for pictures."""

    size: Size
    steps: int
    omega: float
    scheduler: str
    fps: int = 0


@dataclass(frozen=True, kw_only=True)
class FamilySpec:
    """One family of models.

    Args:
        name: short name, as in presets and headers: "sd15".
        title: as a person reads it.
        pipeline: the stock pipeline's class.
        parts: names of the denoiser and of the text encoders among the pipeline's components.
        tiny: (seed) -> pipeline of a tiny real network with random weights, for tests and speed alone.
        lora_targets: suffixes of the modules that an offset changes.
        samplers: name to (scheduler class, the name that image metadata of other programs use).
        encode_prompt: (pipeline, prompts, size, negative) -> conditioning, one row a prompt. `negative`: as the stock
            pipeline encodes what it steers away from, which for an empty text may differ (SDXL: zeros).
        pipeline_arguments: (conditioning, negative conditioning, size) -> keyword arguments of the pipeline's call.
        predict: (denoiser, x_t, t, conditioning) -> raw output, the shape of x_t.
        encode_image: (pipeline, images (batch, 3, height, width) in [-1, 1]) -> scaled latents; a video family takes
            each image as a video of one frame.
        decode_latents: (pipeline, scaled latents) -> images (batch, 3, height, width) or videos
            (batch, frames, 3, height, width) in [-1, 1].
        latent_shape: (pipeline, size) -> shape of one latent, without the batch. Raises StudioError where none fits.
        defaults: (pipeline) -> where to begin.
        load_options: keyword arguments of `from_pretrained` besides the usual ones.
        input_pipelines: the stock pipelines that take an input picture, by use: "image", "inpaint", "control", "adapter".
        reader: (pipeline) -> (tokenizer, tokens) of the text encoder that reads most of a text, and how many it reads.
        dynamic_guidance: the pipeline can let guidance grow along the way (`use_dynamic_cfg`).
        large_text_encoder: the text encoder is freed once the prompts of a training are encoded.
    """

    name: str
    title: str
    pipeline: type
    parts: tuple[str, ...]
    tiny: Callable[..., Any]
    lora_targets: tuple[str, ...]
    samplers: Mapping[str, tuple[Any, str]]
    encode_prompt: Callable[..., Conditioning]
    pipeline_arguments: Callable[[Conditioning, Conditioning, Size], dict[str, Any]]
    predict: Callable[[nn.Module, Tensor, Tensor, Conditioning], Tensor]
    encode_image: Callable[[Any, Tensor], Tensor]
    decode_latents: Callable[[Any, Tensor], Tensor]
    latent_shape: Callable[[Any, Size], tuple[int, ...]]
    defaults: Callable[[Any], FamilyDefaults]
    load_options: Mapping[str, Any]
    input_pipelines: Mapping[str, type] = field(default_factory=dict)
    reader: Callable[[Any], tuple[Any, int]] = lambda pipe: (pipe.tokenizer, pipe.tokenizer.model_max_length)
    dynamic_guidance: bool = False
    large_text_encoder: bool = False

    def denoiser(self, pipe: Any) -> nn.Module:
        """The network that the offsets act on."""
        return getattr(pipe, self.parts[0])

    def left_out(self, pipe: Any, text: str) -> str:
        """The end of a text that no text encoder of the model reads; empty where all of it is read."""
        tokenizer, most = self.reader(pipe)
        tokens = tokenizer(text, verbose=False).input_ids
        # the last token ends the text in every family; it also follows text that is cut off
        return tokenizer.decode(tokens[most - 1 : -1], skip_special_tokens=True).strip() if len(tokens) > most else ""

    def make_scheduler(self, name: str, config: Any) -> Any:
        """A fresh scheduler of that name with the model's own noise schedule.

        Raises:
            StudioError: this family has none of that name.
        """
        if name not in self.samplers:
            raise StudioError(
                "{family} has no scheduler “{name}”.",
                "Choose one of {choices}.",
                family=self.title,
                name=name[:40],
                choices=", ".join(self.samplers),
            )
        # latents are not pixels: DDIM would clip them to [-1, 1] where the model's own configuration does not say otherwise
        return self.samplers[name][0].from_config(config, clip_sample=False)

    def free_text_encoders(self, pipe: Any) -> None:
        """Lets go of the text encoders; prompts can no longer be encoded with this pipeline."""
        for part in self.parts[1:]:
            setattr(pipe, part, None)

    def load(
        self,
        source: Path,
        *,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        config: Path | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Any:
        """A pipeline from a diffusers folder or from a single checkpoint file, from local files alone.

        Args:
            source: a folder with a model_index.json, or a .safetensors file of a whole model.
            config: folder with the configurations and tokenizers of the file's architecture; for single files.
            extra: components to use instead of the source's own, by name.

        Raises:
            StudioError: it is of another kind, incomplete or damaged.
        """
        options: dict[str, Any] = {"local_files_only": True, **self.load_options, **(extra or {})}
        try:
            if source.is_dir():
                pipe = self.pipeline.from_pretrained(source, dtype=dtype, use_safetensors=True, **options)  # type: ignore[attr-defined]
            else:
                pipe = self.pipeline.from_single_file(  # type: ignore[attr-defined]
                    str(source), torch_dtype=dtype, config=str(config), **options
                )
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
            missing = str(error) if "shard" in str(error).lower() else ""
            name = next((word for word in missing.replace("'", " ").split() if word.endswith(".safetensors")), "")
            reason: Sentence | str = (
                Sentence("{file} is missing", file=Path(name).name) if name else type(error).__name__
            )
            raise StudioError(
                "The model “{name}” could not be loaded as {family}: {reason}.",
                "It is incomplete, damaged or of another kind: copy or download it again.",
                name=source.name,
                family=self.title,
                reason=reason,
            ) from error
        pipe.set_progress_bar_config(disable=True)
        return pipe.to(device)
