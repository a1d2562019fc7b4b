"""The networks of the miniature of drawings, in the layout of Stable Diffusion 1.5: same classes, fewer and narrower layers."""

from __future__ import annotations

from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from assets.build.denoiser import tokenize
from assets.build.drawings.latents import CHANNELS, PATCH
from assets.build.drawings.render import SIDE
from assets.build.layout import WIDTH, make_text_encoder, make_tokenizer
from core.miniature.drawings.scene import vocabulary


def make_unet() -> UNet2DConditionModel:
    """One plain and two cross-attention levels on 12 x 12 latents, untrained."""
    return UNet2DConditionModel(
        sample_size=SIDE // PATCH,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(96, 128, 128),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,  # the number of heads, as SD1.5's configuration has it
        norm_num_groups=16,
    )


def make_vae(scaling_factor: float) -> AutoencoderKL:
    """Four levels, 96 px to 12 x 12 latents, untrained."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=4,
        sample_size=SIDE,
        scaling_factor=scaling_factor,
        mid_block_add_attention=False,
    )


class Miniature(nn.Module):
    """UNet and text encoder as one module, so that they are trained as one."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = make_tokenizer(vocabulary())
        self.text_encoder = make_text_encoder(self.tokenizer, layers=2)
        self.unet = make_unet()
        # on a CPU the plain attention trains faster than the fused one at this size
        self.unet.set_attn_processor(AttnProcessor())

    def forward(self, x_t: Tensor, t: Tensor, captions: list[str]) -> Tensor:
        tokens = tokenize(self.tokenizer, captions)
        return self.unet(x_t, t, self.text_encoder(tokens).last_hidden_state).sample
