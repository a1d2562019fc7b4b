"""Stable Diffusion 1.5 and everything in its layout, the bundled miniature included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from core.errors import StudioError
from core.families.base import Conditioning, FamilyDefaults, FamilySpec, class_names

LORA_TARGETS = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "ff.net.0.proj",
    "ff.net.2",
    "proj_in",
    "proj_out",
    "conv1",
    "conv2",
    "conv_shortcut",
    "time_emb_proj",
)


def load(folder: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> StableDiffusionPipeline:
    """The pipeline kept in a diffusers folder, from local files alone.

    Raises:
        StudioError: the folder is of another kind, incomplete or damaged.
    """
    kind = class_names(folder)
    if kind != "StableDiffusionPipeline":
        raise StudioError(
            f"“{folder.name}” is not a Stable Diffusion 1.5 folder: it names {kind or 'no pipeline'}.",
            "Choose a folder whose model_index.json names StableDiffusionPipeline.",
        )
    try:
        pipe = StableDiffusionPipeline.from_pretrained(
            folder,
            dtype=dtype,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            local_files_only=True,
            use_safetensors=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise StudioError(
            f"The model “{folder.name}” could not be loaded: {type(error).__name__}.",
            "The folder is incomplete or damaged: copy or download it again.",
        ) from error
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def tiny(seed: int = 0) -> StableDiffusionPipeline:
    """A pipeline of a few thousand random weights, for tests and speed alone: 32 px, 16 x 16 latents."""
    torch.manual_seed(seed)
    start, end = "<|startoftext|>", "<|endoftext|>"
    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), start, end]
    tokenizer = CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[], model_max_length=16)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokens),
            hidden_size=32,
            intermediate_size=48,
            projection_dim=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=16,
            bos_token_id=len(tokens) - 2,
            eos_token_id=len(tokens) - 1,
            pad_token_id=len(tokens) - 1,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=2,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def encode_prompt(pipe: Any, prompts: list[str]) -> Conditioning:
    """encoder_hidden_states: (prompts, tokens, width), as the stock pipeline makes them."""
    embeds, _ = pipe.encode_prompt(
        prompts, device=pipe.text_encoder.device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    return {"encoder_hidden_states": embeds}


def pipeline_arguments(cond: Conditioning, negative_cond: Conditioning) -> dict[str, Tensor]:
    """The conditionings as the stock pipeline takes them."""
    return {
        "prompt_embeds": cond["encoder_hidden_states"],
        "negative_prompt_embeds": negative_cond["encoder_hidden_states"],
    }


def predict(denoiser: nn.Module, x_t: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
    """The UNet's raw output at x_t (batch, channels, height, width), t (batch,)."""
    return denoiser(x_t, t, encoder_hidden_states=cond["encoder_hidden_states"], return_dict=False)[0]


@torch.no_grad()
def encode_image(pipe: Any, images: Tensor) -> Tensor:
    """Scaled latents, the mode of the encoder's posterior."""
    return pipe.vae.encode(images.to(pipe.vae.dtype)).latent_dist.mode() * pipe.vae.config.scaling_factor


@torch.no_grad()
def decode_latents(pipe: Any, latents: Tensor) -> Tensor:
    """Images in [-1, 1], not clipped."""
    return pipe.vae.decode(latents.to(pipe.vae.dtype) / pipe.vae.config.scaling_factor, return_dict=False)[0]


def latent_shape(pipe: Any, height: int, width: int) -> tuple[int, ...]:
    """(channels, height, width) of one latent.

    Raises:
        StudioError: a size that the VAE's factor or the UNet's levels do not divide.
    """
    unit = pipe.vae_scale_factor * 2 ** (len(pipe.unet.config.block_out_channels) - 1)
    for name, value in (("height", height), ("width", width)):
        if value < unit or value % unit:
            raise StudioError(f"The {name} of {value} px is no multiple of {unit}.", f"Choose a multiple of {unit}.")
    return (pipe.unet.config.in_channels, height // pipe.vae_scale_factor, width // pipe.vae_scale_factor)


def defaults(pipe: Any) -> FamilyDefaults:
    """The official 25 steps of DPM-Solver++ at guidance_scale 7.5, at the size the UNet was trained for."""
    side = pipe.unet.config.sample_size * pipe.vae_scale_factor
    return FamilyDefaults(height=side, width=side, steps=25, omega=6.5, scheduler="dpmsolver++")


SPEC = FamilySpec(
    name="sd15",
    title="Stable Diffusion 1.5",
    load=load,
    tiny=tiny,
    denoiser=lambda pipe: pipe.unet,
    lora_targets=LORA_TARGETS,
    encode_prompt=encode_prompt,
    pipeline_arguments=pipeline_arguments,
    predict=predict,
    encode_image=encode_image,
    decode_latents=decode_latents,
    latent_shape=latent_shape,
    defaults=defaults,
)
