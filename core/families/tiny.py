"""Tiny text encoders and their tokenizers, for the tiny networks of tests: every word is spelt out in letters."""

from __future__ import annotations

from typing import Any

from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

TOKENS = 16
_START, _END = "<|startoftext|>", "<|endoftext|>"


def clip_tokenizer() -> CLIPTokenizer:
    """Letters alone, no merges."""
    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), _START, _END]
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[], model_max_length=TOKENS)


def clip(width: int, *, projection: bool = False) -> Any:
    """A CLIP text encoder of two layers, untrained."""
    size = len(clip_tokenizer())
    config = CLIPTextConfig(
        vocab_size=size,
        hidden_size=width,
        intermediate_size=48,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=size - 1,
    )
    return (CLIPTextModelWithProjection(config) if projection else CLIPTextModel(config)).eval()


def t5_tokenizer() -> T5Tokenizer:
    """Letters alone."""
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), *((chr(c), -2.0) for c in range(33, 127))]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=TOKENS)


def t5(width: int) -> T5EncoderModel:
    """A T5 encoder of two layers, untrained."""
    config = T5Config(
        vocab_size=len(t5_tokenizer()), d_model=width, d_kv=8, d_ff=48, num_layers=2, num_heads=4, pad_token_id=0
    )
    return T5EncoderModel(config).eval()
