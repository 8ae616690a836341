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


def join_minimax_m3(tensors):
    """From the released names to those of transformers' text model (weights.to_minimax_m3)."""
    parts = {}
    for name in list(tensors):
        to = name.replace(".block_sparse_moe.", ".mlp.").replace(".mlp.e_score", ".mlp.gate.e_score")
        to = re.sub(r"self_attn\.index_", "self_attn.indexer.", to)
        expert = re.match(r"(.*\.experts)\.(\d+)\.(w\d)\.weight$", to)
        half = re.match(r"(.*\.)(gate|up)_proj\.weight$", to)
        value = tensors.pop(name)
        if expert:
            parts.setdefault(expert[1], {})[int(expert[2]), expert[3]] = value
        elif half:
            parts.setdefault(half[1] + "gate_up_proj.weight", {})[half[2]] = value
        else:
            tensors[to] = value
    for name, by in parts.items():
        if "gate" in by:
            tensors[name] = torch.cat([by["gate"], by["up"]])
            continue
        experts = range(1 + max(j for j, _ in by))
        tensors[name + ".gate_up_proj"] = torch.stack([torch.cat([by[j, "w1"], by[j, "w3"]]) for j in experts])
        tensors[name + ".down_proj"] = torch.stack([by[j, "w2"] for j in experts])


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
        prefix = "model.language_model."
        if any(k.startswith(prefix) for k in tensors):
            own = [k for k in tensors if k.startswith((prefix, "lm_head."))]
            aside += [k for k in tensors if k not in own]
            tensors = {k.replace(prefix, "model.", 1): tensors[k] for k in own}
    quantization = config.pop("quantization_config", {})
    if os.path.exists(f"{directory}/hf_quant_config.json"):
        quantization = {"quant_method": "modelopt"}
    if quantization.get("quant_method") == "compressed-tensors":
        ct.decode_all(tensors, quantization)
    packed.decode(tensors, quantization)
    decode_fp8(tensors, quantization.get("weight_block_size", [128])[0])
    decode_mxfp4(tensors)
    join_split(tensors)
    if config["model_type"] == "minimax_m3_vl_text":
        join_minimax_m3(tensors)
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
