"""The tensors of the published checkpoints, name by name with their shapes, as their authors' own code makes them.

Facts, read off the authors' networks on a machine with that code: open_clip's ViT-H-14 (HPSv2.1), BLIP large as ImageReward
has it, the aesthetic predictor's file itself; CLIP of transformers is the layout of PickScore and of OpenAI's ViT-L/14.
"""

Shapes = dict[str, tuple[int, ...]]


def both(name: str, *shape: int) -> Shapes:
    """Weight and bias of a layer whose first axis is its output."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def open_clip(
    *, vision: int = 1280, vision_layers: int = 32, text: int = 1024, text_layers: int = 24, joint: int = 1024
) -> Shapes:
    """`state_dict` of HPS_v2.1_compressed.pt."""
    names: Shapes = {
        "positional_embedding": (77, text),
        "text_projection": (text, joint),
        "logit_scale": (),
        "visual.class_embedding": (vision,),
        "visual.positional_embedding": (257, vision),
        "visual.proj": (vision, joint),
        "visual.conv1.weight": (vision, 3, 14, 14),
        **both("visual.ln_pre", vision),
        **both("visual.ln_post", vision),
        "token_embedding.weight": (49408, text),
        **both("ln_final", text),
    }
    for prefix, width, layers in (("visual.transformer", vision, vision_layers), ("transformer", text, text_layers)):
        for layer in range(layers):
            block = f"{prefix}.resblocks.{layer}"
            names |= both(f"{block}.ln_1", width) | both(f"{block}.ln_2", width)
            names |= {f"{block}.attn.in_proj_weight": (3 * width, width), f"{block}.attn.in_proj_bias": (3 * width,)}
            names |= both(f"{block}.attn.out_proj", width, width)
            names |= both(f"{block}.mlp.c_fc", 4 * width, width) | both(f"{block}.mlp.c_proj", width, 4 * width)
    return names


def transformers_clip(*, vision: int, vision_layers: int, text: int, text_layers: int, joint: int) -> Shapes:
    """model.safetensors of PickScore (ViT-H/14) and of OpenAI's ViT-L/14, with the counters that older versions kept."""
    names: Shapes = {
        "logit_scale": (),
        "text_model.embeddings.token_embedding.weight": (49408, text),
        "text_model.embeddings.position_embedding.weight": (77, text),
        "text_model.embeddings.position_ids": (1, 77),
        "vision_model.embeddings.class_embedding": (vision,),
        "vision_model.embeddings.patch_embedding.weight": (vision, 3, 14, 14),
        "vision_model.embeddings.position_embedding.weight": (257, vision),
        "vision_model.embeddings.position_ids": (1, 257),
        **both("text_model.final_layer_norm", text),
        **both("vision_model.pre_layrnorm", vision),
        **both("vision_model.post_layernorm", vision),
        "visual_projection.weight": (joint, vision),
        "text_projection.weight": (joint, text),
    }
    for prefix, width, layers in (("vision_model", vision, vision_layers), ("text_model", text, text_layers)):
        for layer in range(layers):
            block = f"{prefix}.encoder.layers.{layer}"
            for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
                names |= both(f"{block}.self_attn.{part}", width, width)
            names |= both(f"{block}.layer_norm1", width) | both(f"{block}.layer_norm2", width)
            names |= both(f"{block}.mlp.fc1", 4 * width, width) | both(f"{block}.mlp.fc2", width, 4 * width)
    return names


def image_reward(
    *, vision: int = 1024, vision_layers: int = 24, text: int = 768, text_layers: int = 12, words: int = 30524
) -> Shapes:
    """ImageReward.pt."""
    names: Shapes = {
        "blip.visual_encoder.cls_token": (1, 1, vision),
        "blip.visual_encoder.pos_embed": (1, 197, vision),
        **both("blip.visual_encoder.patch_embed.proj", vision, 3, 16, 16),
        **both("blip.visual_encoder.norm", vision),
        "blip.text_encoder.embeddings.position_ids": (1, 512),
        "blip.text_encoder.embeddings.word_embeddings.weight": (words, text),
        "blip.text_encoder.embeddings.position_embeddings.weight": (512, text),
        **both("blip.text_encoder.embeddings.LayerNorm", text),
        **both("blip.vision_proj", 256, vision),
        **both("blip.text_proj", 256, text),
        **{f"mlp.{name}": shape for name, shape in aesthetic_head(text).items()},
    }
    for layer in range(vision_layers):
        block = f"blip.visual_encoder.blocks.{layer}"
        names |= both(f"{block}.norm1", vision) | both(f"{block}.norm2", vision)
        names |= both(f"{block}.attn.qkv", 3 * vision, vision) | both(f"{block}.attn.proj", vision, vision)
        names |= both(f"{block}.mlp.fc1", 4 * vision, vision) | both(f"{block}.mlp.fc2", vision, 4 * vision)
    for layer in range(text_layers):
        block = f"blip.text_encoder.encoder.layer.{layer}"
        for kind, width in (("attention", text), ("crossattention", vision)):
            names |= both(f"{block}.{kind}.self.query", text, text)
            names |= both(f"{block}.{kind}.self.key", text, width) | both(f"{block}.{kind}.self.value", text, width)
            names |= both(f"{block}.{kind}.output.dense", text, text) | both(f"{block}.{kind}.output.LayerNorm", text)
        names |= both(f"{block}.intermediate.dense", 4 * text, text) | both(f"{block}.output.dense", text, 4 * text)
        names |= both(f"{block}.output.LayerNorm", text)
    return names


def aesthetic_head(width: int = 768) -> Shapes:
    """sac+logos+ava1-l14-linearMSE.pth."""
    sizes = (width, 1024, 128, 64, 16, 1)
    places = zip((0, 2, 4, 6, 7), sizes[:-1], sizes[1:], strict=True)
    return {key: shape for n, a, b in places for key, shape in both(f"layers.{n}", b, a).items()}
