"""Architectures of transformers, from small random configurations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

_LENGTH, _WORDS = 12, 99
_STD = 0.2  # of weights: with 0.02 the outputs of narrow layers hardly depend on the inputs
_BERT = {
    "vocab_size": _WORDS,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
_GPT2 = {"vocab_size": _WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
_SWIN = {
    "image_size": 32,
    "patch_size": 2,
    "embed_dim": 8,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": 4,
}
_LLAMA = {**_BERT, "num_key_value_heads": 2, "max_position_embeddings": 64}
_T5 = {"vocab_size": _WORDS, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
_BART = {
    "vocab_size": _WORDS,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
}
_VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
    "initializer_range": _STD,
}
_SEGFORMER = {
    "num_encoder_blocks": 2,
    "depths": [1, 1],
    "hidden_sizes": [16, 32],
    "num_attention_heads": [1, 2],
    "sr_ratios": [4, 2],
    "patch_sizes": [7, 3],
    "strides": [4, 2],
    "mlp_ratios": [2, 2],
    "decoder_hidden_size": 32,
}
_WHISPER = {
    "vocab_size": _WORDS,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "num_mel_bins": 8,
    "max_source_positions": 16,
    "max_target_positions": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "init_std": _STD,
}
_CLIP = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "projection_dim": 16,
}
_RESNET = {
    "embedding_size": 8,
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
    "layer_type": "basic",
    "out_features": ["stage2"],
}

Made = tuple[nn.Module, tuple[torch.Tensor, ...]]


class _Call(nn.Module):
    """Calls a model with named inputs and returns the floating point tensors that are no caches."""

    def __init__(self, net: nn.Module, names: tuple[str, ...], **fixed: Any) -> None:
        super().__init__()
        self.net, self.names, self.fixed = net, names, fixed

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output = self.net(**dict(zip(self.names, inputs)), **self.fixed)
        return tuple(v for v in output.values() if isinstance(v, torch.Tensor))


def _ids(length: int = _LENGTH) -> torch.Tensor:
    return torch.randint(3, _WORDS, (1, length))


def _text(model: str, config: dict[str, Any], **fixed: Any) -> Made:
    import transformers

    net = getattr(transformers, f"{model}Model")(getattr(transformers, f"{model}Config")(**config))
    mask = torch.ones(1, _LENGTH, dtype=torch.int64)
    mask[:, -3:] = 0
    return _Call(net, ("input_ids", "attention_mask"), **fixed), (_ids(), mask)


def _decoder(model: str, config: dict[str, Any]) -> Made:
    import transformers

    net = getattr(transformers, f"{model}Model")(getattr(transformers, f"{model}Config")(**config))
    return _Call(net, ("input_ids",), use_cache=False), (_ids(),)


def _image(model: str, config: dict[str, Any]) -> Made:
    import transformers

    net = getattr(transformers, f"{model}Model")(getattr(transformers, f"{model}Config")(**config))
    return _Call(net, ("pixel_values",)), (torch.randn(1, 3, 32, 32),)


def _t5_encoder() -> Made:
    import transformers

    return _Call(transformers.T5EncoderModel(transformers.T5Config(**_T5)), ("input_ids",)), (
        _ids(),
    )


def _t5_decoder() -> Made:
    import transformers

    net = transformers.T5Model(transformers.T5Config(**_T5))
    return _Call(net, ("input_ids", "decoder_input_ids"), use_cache=False), (_ids(), _ids(5))


def _detr() -> Made:
    import transformers

    backbone = transformers.ResNetConfig(**_RESNET)
    config = transformers.DetrConfig(
        backbone_config=backbone,
        use_timm_backbone=False,
        backbone=None,
        use_pretrained_backbone=False,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_queries=5,
        init_std=_STD,
    )
    return _Call(transformers.DetrModel(config), ("pixel_values",)), (torch.randn(1, 3, 64, 64),)


def _clip() -> Made:
    import transformers

    text = {**_CLIP, "vocab_size": _WORDS, "max_position_embeddings": 16, "eos_token_id": 2}
    vision = {**_CLIP, "image_size": 32, "patch_size": 8}
    net = transformers.CLIPModel(
        transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    )
    return _Call(net, ("input_ids", "pixel_values")), (_ids(), torch.randn(1, 3, 32, 32))


def _whisper_encoder() -> Made:
    import transformers

    net = transformers.WhisperModel(transformers.WhisperConfig(**_WHISPER)).encoder
    return _Call(net, ("input_features",)), (torch.randn(1, 8, 32),)


def _whisper_decoder() -> Made:
    import transformers

    net = transformers.WhisperModel(transformers.WhisperConfig(**_WHISPER)).decoder
    names = ("input_ids", "encoder_hidden_states")
    return _Call(net, names, use_cache=False), (_ids(5), torch.randn(1, 16, 32))


TRANSFORMERS: dict[str, Callable[[], Made]] = {
    "bert": partial(_text, "Bert", _BERT),
    "roberta": partial(_text, "Roberta", _BERT),
    "distilbert": partial(
        _text,
        "DistilBert",
        {"vocab_size": _WORDS, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    ),
    "albert": partial(_text, "Albert", {**_BERT, "embedding_size": 16}),
    "electra": partial(_text, "Electra", {**_BERT, "embedding_size": 16}),
    "gpt2": partial(_decoder, "GPT2", _GPT2),
    "gpt_neox": partial(_decoder, "GPTNeoX", {**_BERT, "max_position_embeddings": 64}),
    "llama": partial(_decoder, "Llama", _LLAMA),
    "mistral": partial(_decoder, "Mistral", {**_LLAMA, "sliding_window": 6}),
    "gemma": partial(_decoder, "Gemma", {**_LLAMA, "head_dim": 8}),
    "t5_encoder": _t5_encoder,
    "t5_decoder": _t5_decoder,
    "bart": partial(_text, "Bart", _BART, use_cache=False),
    "vit": partial(_image, "ViT", _VIT),
    "deit": partial(_image, "DeiT", _VIT),
    "swin": partial(_image, "Swin", _SWIN),
    "segformer": partial(_image, "Segformer", _SEGFORMER),
    "detr": _detr,
    "clip": _clip,
    "whisper_encoder": _whisper_encoder,
    "whisper_decoder": _whisper_decoder,
    "mamba": partial(
        _decoder,
        "Mamba",
        {"vocab_size": _WORDS, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
    ),
}
