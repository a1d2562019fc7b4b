"""The miniature's networks, in the layout of Stable Diffusion 1.5: same classes, fewer and narrower layers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from assets.build.latents import CHANNELS
from core.miniature.world.scene import vocabulary

TOKENS = 28
WIDTH = 128
START, END = "<|startoftext|>", "<|endoftext|>"


def make_tokenizer(known: list[str] | None = None) -> CLIPTokenizer:
    """CLIP's byte-pair tokenizer whose merges make every known word one token; others fall into letters.

    Args:
        known: the words; without them, those of the world of shapes.
    """
    letters = [chr(code) for code in range(33, 127)]
    vocab = {token: index for index, token in enumerate([*letters, *(f"{letter}</w>" for letter in letters)])}
    words = [[*word[:-1], f"{word[-1]}</w>"] for word in known or vocabulary()]
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for word in words for pair in zip(word, word[1:], strict=False)):
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        vocab.setdefault("".join(best), len(vocab))
        for word in words:
            for i in range(len(word) - 1):
                if tuple(word[i : i + 2]) == best:
                    word[i : i + 2] = ["".join(best)]
    for special in (START, END):
        vocab[special] = len(vocab)
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=TOKENS)


def make_text_encoder(tokenizer: CLIPTokenizer, layers: int = 3, eps: float = 1e-5) -> CLIPTextModel:
    """A narrow CLIP text encoder, untrained."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=layers,
        layer_norm_eps=eps,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        bos_token_id=tokenizer.convert_tokens_to_ids(START),
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        pad_token_id=tokenizer.convert_tokens_to_ids(END),
    )
    return CLIPTextModel(config)


def make_unet() -> UNet2DConditionModel:
    """One plain and two cross-attention levels on 16 x 16 latents, untrained."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 96, 112),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,  # the number of heads, as SD1.5's configuration has it
        norm_num_groups=16,
    )


def make_vae(scaling_factor: float) -> AutoencoderKL:
    """Three levels, 64 px to 16 x 16 latents, untrained."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 48, 64),
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=scaling_factor,
        mid_block_add_attention=False,
    )


def make_scheduler(spacing: str = "leading") -> DDIMScheduler:
    """The noise schedule of Stable Diffusion 1.5.

    Args:
        spacing: of the sampling steps, "leading" as SD1.5 has it, or "trailing", from the noisiest level down.
    """
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing=spacing,
    )


def asset(name: str) -> Path:
    """A path inside `assets/`."""
    return Path(__file__).parent.parent / name
