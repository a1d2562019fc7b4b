"""The miniature in the layout of Stable Diffusion XL: two text encoders, pooled embeddings, time ids.

It begins with what the SD1.5 miniature has learned, thinned to the narrower lowest level (six of every seven channels,
the same in every group of a normalisation and in every head). SDXL reads its encoders before their last layer, without
the last normalisation: the first encoder has one layer more, and the cross-attention's weights take in the linear map
that comes nearest to that normalisation on the world's captions. Then it learns from the SD1.5 miniature's predictions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from assets.build.denoiser import tokenize
from assets.build.latents import CHANNELS
from assets.build.layout import END, START, TOKENS, WIDTH, make_scheduler, make_text_encoder, make_tokenizer
from core.miniature.world.scene import caption, sample_scene

SECOND_WIDTH = 64
TIME_IDS = (64.0, 64.0, 0.0, 0.0, 64.0, 64.0)


def make_second_encoder(tokenizer: Any) -> CLIPTextModelWithProjection:
    """A narrow CLIP text encoder with a pooled projection, untrained."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=SECOND_WIDTH,
        intermediate_size=2 * SECOND_WIDTH,
        projection_dim=SECOND_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        bos_token_id=tokenizer.convert_tokens_to_ids(START),
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        pad_token_id=tokenizer.convert_tokens_to_ids(END),
    )
    return CLIPTextModelWithProjection(config)


def make_unet() -> UNet2DConditionModel:
    """One plain and two cross-attention levels on 16 x 16 latents, with the text and time embedding of SDXL."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 96, 96),
        layers_per_block=1,
        cross_attention_dim=WIDTH + SECOND_WIDTH,
        attention_head_dim=4,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=6 * 16 + SECOND_WIDTH,
        norm_num_groups=16,
    )


def thinned(old: Tensor, shape: torch.Size) -> Tensor:
    """A weight of the wider network cut to `shape`: in every axis that shrank, six of every seven leading entries."""
    old = old.reshape(*old.shape[:2]) if len(shape) == 2 and old.ndim == 4 else old
    for axis, wanted in enumerate(shape):
        have = old.shape[axis]
        if wanted > have:  # a wider text: the new columns begin at nothing
            pad = torch.zeros(*old.shape[:axis], wanted - have, *old.shape[axis + 1 :])
            old = torch.cat([old, pad], axis)
        elif wanted < have:
            head = 7 * (have - wanted)
            kept = [i for i in range(have) if i >= head or i % 7 != 6]
            old = old.index_select(axis, torch.tensor(kept))
    return old


class MiniatureXL(nn.Module):
    """UNet and both text encoders as one module, so that they are trained as one."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = make_tokenizer()
        self.text_encoder = make_text_encoder(self.tokenizer, layers=4, eps=1e-8)
        self.text_encoder_2 = make_second_encoder(self.tokenizer)
        # SDXL reads the first encoder before its last layer, which therefore learns nothing
        self.text_encoder.encoder.layers[-1].requires_grad_(False)
        self.text_encoder.final_layer_norm.requires_grad_(False)
        self.unet = make_unet()
        self.unet.set_attn_processor(AttnProcessor())

    def start_from(self, folder: Path) -> None:
        """Takes over what a miniature of the SD1.5 layout has learned, as far as it fits."""
        state = {k: v.float() for k, v in load_file(folder / "text_encoder" / "model.safetensors").items()}
        self.text_encoder.load_state_dict(state, strict=False)
        former = make_text_encoder(self.tokenizer)
        former.load_state_dict(state)
        self._scale_down()
        learned = {k: v.float() for k, v in load_file(folder / "unet" / "diffusion_pytorch_model.safetensors").items()}
        matrix, offset = self._last_normalisation(former)
        for name in [name for name in learned if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))]:
            if "to_v" in name:  # what is added to every value comes out of the attention unchanged
                out = name.replace("to_v.weight", "to_out.0")
                learned[f"{out}.bias"] += learned[f"{out}.weight"] @ learned[name] @ offset
            learned[name] = learned[name] @ matrix.T
        own = self.unet.state_dict()
        self.unet.load_state_dict(
            {name: thinned(learned[name], own[name].shape) if name in learned else own[name] for name in own}
        )

    def _read(self, tokens: Tensor) -> Tensor:
        return self.text_encoder(tokens, output_hidden_states=True).hidden_states[-2].flatten(0, 1)

    def _tokens(self) -> Tensor:
        rng = np.random.default_rng(0)
        captions = [caption(sample_scene(rng, pairs=0.25, spoilt=0.0), rng) for _ in range(512)]
        return tokenize(self.tokenizer, captions)

    @torch.no_grad()
    def _scale_down(self) -> None:
        """Brings what is read to unit size without another change: every layer begins with a normalisation, so all that
        is added to the stream may be divided by one number."""
        size = self._read(self._tokens()).std()
        embeddings = self.text_encoder.embeddings
        parts = [embeddings.token_embedding.weight, embeddings.position_embedding.weight]
        for layer in self.text_encoder.encoder.layers:
            parts += [*layer.self_attn.out_proj.parameters(), *layer.mlp.fc2.parameters()]
        for part in parts:
            part.div_(size)

    @torch.no_grad()
    def _last_normalisation(self, former: Any) -> tuple[Tensor, Tensor]:
        """(matrix, offset): least squares from what is read here to what the SD1.5 miniature reads."""
        tokens = self._tokens()
        read = self._read(tokens)
        wanted = former(tokens).last_hidden_state.flatten(0, 1)
        solved = torch.linalg.lstsq(torch.cat([read, torch.ones(len(read), 1)], 1), wanted).solution
        return solved[:-1], solved[-1]

    def forward(self, x_t: Tensor, t: Tensor, captions: list[str]) -> Tensor:
        tokens = tokenize(self.tokenizer, captions)
        # the layer before the last of both encoders, as SDXL has it
        first = self.text_encoder(tokens, output_hidden_states=True).hidden_states[-2]
        second = self.text_encoder_2(tokens, output_hidden_states=True)
        nonempty = torch.tensor([float(bool(caption)) for caption in captions])  # an empty text is zeros, as in SDXL
        added = {
            "text_embeds": second.text_embeds * nonempty[:, None],
            "time_ids": torch.tensor(TIME_IDS).expand(len(x_t), 6),
        }
        hidden = torch.cat([first, second.hidden_states[-2]], -1) * nonempty[:, None, None]
        return self.unet(x_t, t, hidden, added_cond_kwargs=added).sample

    def pipeline(self, vae: AutoencoderKL) -> StableDiffusionXLPipeline:
        """The trained parts as a stock pipeline."""
        pipe = StableDiffusionXLPipeline(
            vae=vae,
            text_encoder=self.text_encoder,
            text_encoder_2=self.text_encoder_2,
            tokenizer=self.tokenizer,
            tokenizer_2=self.tokenizer,
            unet=self.unet,
            scheduler=make_scheduler(),
            force_zeros_for_empty_prompt=True,
            add_watermarker=False,
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe
