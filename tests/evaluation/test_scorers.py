"""Scorers: each on a tiny random network of its architecture, and the names of the true checkpoints against the true
architectures, without their weights."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BertTokenizer, CLIPConfig, CLIPModel

from core.errors import StudioError
from core.evaluation import clip_scorers, image_reward
from core.evaluation.attention import in_scorer, put_in_scorer
from core.evaluation.key_maps import from_blip, from_open_clip, load_into
from core.evaluation.pixels import contrast, cropped_for_clip, padded_for_clip, saturation, sharpness
from core.evaluation.scorer import CARDS
from core.families.tiny import clip_tokenizer
from tests.evaluation import checkpoint_names

LARGE = {"vision": 1024, "vision_layers": 24, "text": 768, "text_layers": 12, "joint": 768}
HUGE = {"vision": 1280, "vision_layers": 32, "text": 1024, "text_layers": 24, "joint": 1024}


def tiny_config():
    size = len(clip_tokenizer())
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = {**text, "patch_size": 14, "image_size": 28, "hidden_size": 32}
    text |= {
        "vocab_size": size,
        "max_position_embeddings": 16,
        "bos_token_id": size - 2,
        "eos_token_id": size - 1,
        "pad_token_id": size - 1,
    }
    return {"projection_dim": 24, "text_config": text, "vision_config": vision}


def tiny_clip_state():
    return CLIPModel(CLIPConfig(**tiny_config())).state_dict()


def as_open_clip(state):
    """The same network under the names that open_clip gives it, query, key and value in one matrix."""
    renamed, fused = {}, {}
    for name, tensor in state.items():
        name = name.replace("vision_model.", "visual.").replace("text_model.", "")
        for ours, theirs in (
            ("encoder.layers.", "transformer.resblocks."),
            ("embeddings.position_embedding.weight", "positional_embedding"),
            ("embeddings.token_embedding", "token_embedding"),
            ("embeddings.class_embedding", "class_embedding"),
            ("embeddings.patch_embedding", "conv1"),
            ("pre_layrnorm", "ln_pre"),
            ("post_layernorm", "ln_post"),
            ("final_layer_norm", "ln_final"),
            ("layer_norm1", "ln_1"),
            ("layer_norm2", "ln_2"),
            ("mlp.fc1", "mlp.c_fc"),
            ("mlp.fc2", "mlp.c_proj"),
            ("self_attn.out_proj", "attn.out_proj"),
        ):
            name = name.replace(ours, theirs)
        if name.endswith("_projection.weight"):
            renamed["visual.proj" if name[0] == "v" else "text_projection"] = tensor.T
        elif "self_attn" in name:
            block, part = name.split("self_attn.")
            fused.setdefault(f"{block}attn.in_proj_{part[7:]}", {})[part[0]] = tensor
        else:
            renamed[name] = tensor
    return renamed | {name: torch.cat([parts[part] for part in "qkv"]) for name, parts in fused.items()}


def pictures(count, size=(40, 30)):
    noise = np.random.default_rng(0).integers(0, 256, (count, size[1], size[0], 3), dtype=np.uint8)
    return [Image.fromarray(one) for one in noise]


def empty(shapes):
    with torch.device("meta"):
        return {name: torch.empty(shape) for name, shape in shapes.items()}


def shapes_of(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items() if not name.endswith("position_ids")}


def architecture(config):
    with torch.device("meta"):
        return CLIPModel(CLIPConfig(**config)).state_dict()


def test_every_tensor_of_hpsv2_finds_its_place_in_the_true_architecture():
    state = empty(checkpoint_names.open_clip())
    assert len(state) == 686
    assert shapes_of(from_open_clip(state)) == shapes_of(architecture(clip_scorers.VIT_H_14))


@pytest.mark.parametrize(("config", "sizes"), [(clip_scorers.VIT_H_14, HUGE), (clip_scorers.VIT_L_14, LARGE)])
def test_every_tensor_of_pickscore_and_of_openais_clip_finds_its_place(config, sizes):
    assert shapes_of(empty(checkpoint_names.transformers_clip(**sizes))) == shapes_of(architecture(config))


def test_every_tensor_of_imagereward_finds_its_place_in_the_true_architecture():
    state = empty(checkpoint_names.image_reward())
    assert len(state) == 625
    with torch.device("meta"):
        own = image_reward.RewardNetwork().state_dict()
    assert shapes_of(from_blip(state)) == shapes_of(own)


def test_every_tensor_of_the_aesthetic_head_finds_its_place():
    names = {name.removeprefix("layers."): shape for name, shape in checkpoint_names.aesthetic_head().items()}
    assert names == shapes_of(clip_scorers.linear_head(768).state_dict())


def test_a_tensor_that_is_missing_left_over_or_of_another_shape_is_named():
    network = torch.nn.Linear(2, 3)
    state = network.state_dict()
    for wrong in ({"weight": state["weight"]}, state | {"more": state["bias"]}, state | {"bias": torch.zeros(4)}):
        with pytest.raises(StudioError, match="1 tensors differ, for example (bias|more)"):
            load_into(network, wrong, "a scorer")


def test_a_clip_under_open_clips_names_is_the_same_network():
    state = tiny_clip_state()
    mapped = from_open_clip(as_open_clip(state))
    assert mapped.keys() == state.keys()
    assert all(torch.equal(mapped[name], state[name]) for name in state)


def test_pickscore_is_a_hundred_times_the_cosine_of_its_own_network():
    state = tiny_clip_state()
    scorer = clip_scorers.make_pickscore(state, clip_tokenizer(), tiny_config())
    images, prompts = pictures(3), ["ab", "c d", "a very long prompt that is cut off at the end"]
    model = CLIPModel(CLIPConfig(**tiny_config())).eval()
    model.load_state_dict(state)
    tokens = clip_tokenizer()(prompts, padding="max_length", truncation=True, return_tensors="pt")
    with torch.no_grad():
        both = model(input_ids=tokens.input_ids, pixel_values=cropped_for_clip(images, 28))
    expected = 100 * (both.image_embeds * both.text_embeds).sum(-1)
    assert torch.allclose(scorer.score(images, prompts), expected, atol=1e-4)
    assert scorer.card is CARDS["pickscore"]


@pytest.mark.parametrize("name", ["plain", "sdpa"])
def test_the_attention_that_is_asked_for_is_in_place_and_scores_alike(name):
    state = tiny_clip_state()
    usual, scorer = (clip_scorers.make_pickscore(state, clip_tokenizer(), tiny_config()) for _ in range(2))
    put_in_scorer(scorer, name)
    assert in_scorer(scorer) == {name} and in_scorer(usual) == {"sdpa"}
    images, prompts = pictures(2), ["ab", "cd"]
    assert torch.allclose(scorer.score(images, prompts), usual.score(images, prompts), atol=1e-4)


def test_a_score_does_not_depend_on_the_rest_of_the_batch():
    scorer = clip_scorers.make_hpsv2(as_open_clip(tiny_clip_state()), clip_tokenizer(), tiny_config())
    images, prompts = pictures(4), ["ab", "cd", "ef", "gh"]
    together = scorer.score(images, prompts)
    alone = torch.cat([scorer.score([image], [prompt]) for image, prompt in zip(images, prompts, strict=True)])
    assert torch.allclose(together, alone, atol=1e-4)
    assert together.std() > 0


def test_clipscore_is_never_negative_and_the_aesthetic_predictor_does_not_read_the_prompt():
    config, state = tiny_config(), tiny_clip_state()
    seen = []
    for sign in (1, -1):
        turned = state | {"visual_projection.weight": sign * state["visual_projection.weight"]}
        score = clip_scorers.make_clipscore(turned, clip_tokenizer(), config).score(pictures(4), list("abcd"))
        cosines = clip_scorers.make_pickscore(turned, clip_tokenizer(), config).score(pictures(4), list("abcd"))
        assert torch.equal(score, cosines.clamp(min=0)) and cosines.ne(0).all()
        seen.append(cosines.min() < 0)
    assert any(seen), "one of the two networks gives a negative cosine"
    head = {f"layers.{name}": tensor for name, tensor in clip_scorers.linear_head(24).state_dict().items()}
    aesthetic = clip_scorers.make_aesthetic(state, head, clip_tokenizer(), config)
    assert torch.equal(aesthetic.score(pictures(2), ["a", "b"]), aesthetic.score(pictures(2), ["c", "d"]))


def test_imagereward_reads_the_picture_and_the_prompt(tmp_path):
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]) + "\n")
    tokenizer = image_reward.bert_tokenizer(vocabulary)
    assert isinstance(tokenizer, BertTokenizer) and len(tokenizer) == 15
    assert tokenizer("A b").input_ids == [2, 5, 6, 3]
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = image_reward.VISION | small | {"image_size": 32}
    text = image_reward.TEXT | small | {"vocab_size": 15, "encoder_hidden_size": 16, "bos_token_id": 13}
    state = {}
    for name, tensor in image_reward.RewardNetwork(vision, text | {"sep_token_id": 3}).state_dict().items():
        name = name.replace("head.", "mlp.layers.").replace("text.", "blip.text_encoder.")
        for ours, theirs in (
            ("vision.encoder.layers.", "vision.blocks."),
            ("self_attn.qkv", "attn.qkv"),
            ("self_attn.projection", "attn.proj"),
            ("layer_norm", "norm"),
            ("post_norm", "norm"),
            ("post_layernorm", "norm"),
            ("embeddings.class_embedding", "cls_token"),
            ("embeddings.position_embedding", "pos_embed") if name.startswith("vision") else ("", ""),
            ("embeddings.patch_embedding", "patch_embed.proj"),
            ("vision.", "blip.visual_encoder."),
        ):
            name = name.replace(ours, theirs) if ours else name
        state[name] = torch.randn_like(tensor) * 0.2
    scorer = image_reward.make_image_reward(state, tokenizer, vision=vision, text=text)
    images = pictures(2)
    first = scorer.score([images[0], images[0], images[1]], ["a b", "c d e", "a b"])
    assert first.shape == (3,) and len({round(float(x), 5) for x in first}) == 3
    assert torch.allclose(scorer.score([images[1]], ["a b"]), first[2:], atol=1e-4)
    assert torch.equal(scorer.network.head[7].bias, state["mlp.layers.7.bias"])


def test_pictures_are_cut_for_clip_and_padded_for_hpsv2():
    wide = Image.new("RGB", (80, 40), (255, 255, 255))
    wide.paste((0, 0, 0), (0, 0, 20, 40))
    cut, padded = cropped_for_clip([wide], 20), padded_for_clip([wide], 20)
    white = cut[0, :, 10, 19]
    assert torch.allclose(cut[0, :, :, 2:], white[:, None, None].expand(3, 20, 18), atol=1e-5), (
        "the black edge is cut off"
    )
    black = padded[0, 0, 0, 0]
    assert padded[0, 0, :5].eq(black).all() and padded[0, 0, 15:].eq(black).all()
    assert not padded[0, 0, 10].eq(black).all()


def test_saturation_contrast_and_sharpness_are_what_their_names_say():
    grey, red = Image.new("RGB", (8, 8), (90, 90, 90)), Image.new("RGB", (8, 8), (200, 0, 0))
    board = Image.fromarray((np.indices((8, 8)).sum(0) % 2 * 255).astype(np.uint8)).convert("RGB")
    assert saturation(grey) == 0 and saturation(red) == 1
    assert contrast(grey) == 0 and contrast(board) == pytest.approx(0.5, abs=1e-3)
    assert sharpness(grey) == pytest.approx(0, abs=1e-6) and sharpness(board) > 1000
