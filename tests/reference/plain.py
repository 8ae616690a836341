"""A checkpoint as transformers can load it strictly on the CPU: no quantization, no wrapper, nothing to be ignored.

transformers skips its shape check while a quantizer is active, needs a GPU for FP8, and reports the tensors of
multi-token-prediction layers as unexpected unless the model has one of the released depths. So what a directory
holds is brought to the plain form first: quantized weights decoded to float32, the text model taken out of a
multimodal wrapper, MTP tensors set aside.
"""

import os
import re

import ct
import packed
import torch

from formats import fp8_decode, fp8_rows_decode, mxfp4_decode, read_json, read_tensors

# Model types that transformers knows under another name only.
SAME_AS = {"kimi_k2": "deepseek_v3"}


def decode_fp8(tensors, block):
    for name in [k for k in tensors if k.endswith(".weight_scale_inv")]:
        weight = name.removesuffix("_scale_inv")
        tensors[weight] = fp8_decode(tensors[weight], tensors.pop(name), block)
    for name in [k for k in tensors if k.endswith(".weight_scale")]:
        weight, scale = name.removesuffix("_scale"), tensors.pop(name)
        tensors[weight] = fp8_rows_decode(tensors[weight], scale) if scale.dim() == 2 else fp8_decode(tensors[weight], scale.reshape(()))
    for name in [k for k in tensors if k.endswith(".input_scale")]:
        del tensors[name]


def decode_mxfp4(tensors):
    """Row = output feature on disk; transformers keeps [expert, in, out]."""
    for name in [k for k in tensors if k.endswith("_blocks")]:
        base = name.removesuffix("_blocks")
        value = mxfp4_decode(tensors.pop(name), tensors.pop(base + "_scales"))
        tensors[base] = value.transpose(1, 2).contiguous()


def join_split(tensors):
    """Llama4 with one tensor per expert and matrix, as quantized re-releases have it: transformers reads the fused form only."""
    expert = re.compile(r"(.*\.feed_forward\.experts)\.(\d+)\.(gate|up|down)_proj\.weight$")
    parts = {}
    for m in filter(None, map(expert.match, list(tensors))):
        parts.setdefault(m[1], {})[m[3], int(m[2])] = tensors.pop(m[0]).T
    for base, by in parts.items():
        experts = range(1 + max(j for _, j in by))
        tensors[base + ".gate_up_proj"] = torch.stack([torch.cat([by["gate", j], by["up", j]], 1) for j in experts])
        tensors[base + ".down_proj"] = torch.stack([by["down", j] for j in experts])


def is_mtp(name, layers):
    layer = re.match(r"model\.layers\.(\d+)\.", name)
    return "mtp" in name or bool(layer and int(layer[1]) >= layers)


def plain(directory):
    """(config, tensors, names set aside)"""
    config, tensors, aside = read_json(f"{directory}/config.json"), read_tensors(directory), []
    if "text_config" in config:
        outer, config = config, dict(config["text_config"])
        config["architectures"] = [outer["architectures"][0].replace("ForConditionalGeneration", "ForCausalLM")]
        prefix = "language_model."
        if any(k.startswith(prefix) for k in tensors):
            aside += [k for k in tensors if not k.startswith(prefix)]
            tensors = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    quantization = config.pop("quantization_config", {})
    if os.path.exists(f"{directory}/hf_quant_config.json"):
        quantization = {"quant_method": "modelopt"}
    if quantization.get("quant_method") == "compressed-tensors":
        ct.decode_all(tensors, quantization)
    packed.decode(tensors, quantization)
    decode_fp8(tensors, quantization.get("weight_block_size", [128])[0])
    decode_mxfp4(tensors)
    join_split(tensors)
    for name in [k for k in tensors if is_mtp(k, config["num_hidden_layers"])]:
        aside.append(name)
        del tensors[name]
    if config["model_type"] in SAME_AS:
        config["model_type"] = SAME_AS[config["model_type"]]
    # Released Llama4 files hold 4; the field is a bool since 5.4.
    if isinstance(config.get("attn_temperature_tuning"), int):
        config["attn_temperature_tuning"] = bool(config["attn_temperature_tuning"])
    # MiniMax-M2: 5.17 does not read rotary_dim, which the released file has.
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if config.get("rotary_dim") and "partial_rotary_factor" not in {**config, **rope}:
        config["partial_rotary_factor"] = config["rotary_dim"] / config.get("head_dim", 128)
    return config, tensors, sorted(aside)
