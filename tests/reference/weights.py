"""Random weights of a configuration, and the layouts they are stored in.

Names and shapes come from transformers; the numbers from a counter-based generator, so that the same seed gives the
same bytes whatever the versions of torch and numpy.
"""

import copy
import os
import re
import tempfile
import zlib

import ct
import golden
import numpy as np
import packed
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from formats import fp8_encode, fp8_rows_encode, mxfp4_encode, powers, read_tensors

SEQUENCES = (24, 21, 3)


def mix(x):
    """splitmix64's finalizer on an array of u64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniform(key, shape, low=-1.0, high=1.0):
    """f32 in [low, high), a function of the key's text and the element's index only."""
    with np.errstate(over="ignore"):
        seed = mix(np.array([zlib.crc32(key.encode())], dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15))
        count = np.arange(int(np.prod(shape)), dtype=np.uint64)
        bits = mix(seed + (count + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))
    unit = (bits >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)
    return torch.from_numpy((low + (high - low) * unit).astype(np.float32).reshape(shape))


def draw(key, name, shape, model_type):
    """One tensor. Norms around 1, biases not zero, routers strong, GPT-OSS's clamp at 7 reached."""
    if name.endswith("norm.weight") or "_norm." in name:
        return 1 + 0.3 * uniform(key, shape)
    if "e_score_correction_bias" in name:
        return uniform(key, shape, -0.3, 0.3) if model_type == "ernie4_5_moe" else uniform(key, shape, -0.6, 0.4)
    if name.endswith("sinks"):
        return uniform(key, shape, -2, 4)
    if name.endswith(("bias", "_bias")):
        return 0.3 * uniform(key, shape)
    if "embed_tokens" in name:
        return 1.7 * uniform(key, shape)
    fused = re.search(r"experts\.(gate_up|down)_proj$", name)
    fan_in = shape[1]  # [out, in], or [expert, in, out]
    gain = 1.0
    if re.search(r"\.(gate|router)\.weight$", name):
        gain = 1.5
    elif fused and model_type == "gpt_oss" and "gate_up" in name:
        gain = 5.0
    elif fused and model_type == "gpt_oss":
        gain = 0.1
    elif "q_proj" in name or "k_proj" in name or "q_b_proj" in name:
        gain = 1.5
    return gain * (3 / fan_in) ** 0.5 * uniform(key, shape)


def is_f32(name, model_type, style):
    """What transformers keeps in float32 whatever the model's dtype; ERNIE's routers only since 5."""
    return "e_score_correction_bias" in name or name.endswith(".expert_bias") or (model_type == "ernie4_5_moe" and style == "v5" and name.endswith(".gate.weight"))


def skeleton(config):
    """{name: shape} of the split files that transformers would write, and the configuration as it spells it."""
    known = copy.deepcopy(config)  # transformers writes into the rope dictionary that it is given
    known |= {"model_type": {"kimi_k2": "deepseek_v3"}.get(config["model_type"], config["model_type"])}
    if "attn_temperature_tuning" in known:
        known["attn_temperature_tuning"] = bool(known["attn_temperature_tuning"])
    cfg = AutoConfig.for_model(**known)
    if not golden.has_causal_class(known["model_type"]):
        return {k: tuple(v.shape) for k, v in golden.WithHead(cfg).state_dict().items()}, cfg
    model = AutoModelForCausalLM.from_config(cfg, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as tmp:
        model.save_pretrained(tmp)
        return {k: tuple(v.shape) for k, v in read_tensors(tmp).items()}, cfg


def mtp_shapes(config, shapes):
    """A multi-token-prediction layer beside the model: a whole extra layer, or ERNIE's dense block."""
    h, v, last = config["hidden_size"], config["vocab_size"], config["num_hidden_layers"]
    if config["model_type"] == "ernie4_5_moe":
        extra = {k.replace("model.layers.0.", "model.mtp_block.0."): s for k, s in shapes.items() if k.startswith("model.layers.0.")}
        extra |= {"model.mtp_emb_norm.0.weight": (h,), "model.mtp_hidden_norm.0.weight": (h,)}
        return extra | {"model.mtp_linear_proj.0.weight": (h, 2 * h)}
    before, after = f"model.layers.{last - 1}.", f"model.layers.{last}."
    extra = {k.replace(before, after): s for k, s in shapes.items() if k.startswith(before)}
    extra |= {after + k + ".weight": (h,) for k in ("enorm", "hnorm", "shared_head.norm")}
    return extra | {after + "embed_tokens.weight": (v, h), after + "eh_proj.weight": (h, 2 * h), after + "shared_head.head.weight": (v, h)}


def random_tensors(config, shapes, v, seed):
    """bf16 (f32 where transformers keeps that) in the split layout, by name."""
    shapes, extra = dict(shapes), v.get("tensors", "")
    if "mtp" in extra:
        shapes |= mtp_shapes(config, shapes)
    kind = config["model_type"]
    tensors = {}
    for name, shape in shapes.items():
        t = draw(f"{seed}:{name}", name, shape, kind)
        tensors[name] = t if is_f32(name, kind, v.get("style")) else t.to(torch.bfloat16)
    if "lm_head" in extra:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    return tensors


# ---- layouts ----


def to_fused(tensors):
    """One tensor for all experts: gate rows then up rows, down; transformers 5's names."""
    out, parts = {}, {}
    for name, t in tensors.items():
        m = re.match(r"(.*)\.experts\.(\d+)\.(\w+)\.weight$", name)
        if m:
            parts.setdefault(m[1], {})[int(m[2]), m[3]] = t
        else:
            out[name.replace(".block_sparse_moe.", ".mlp.")] = t
    for base, by in parts.items():
        gate, up, down = ("w1", "w3", "w2") if (0, "w1") in by else ("gate_proj", "up_proj", "down_proj")
        n, base = 1 + max(j for j, _ in by), base.replace(".block_sparse_moe", ".mlp")
        out[base + ".experts.gate_up_proj"] = torch.stack([torch.cat([by[j, gate], by[j, up]]) for j in range(n)])
        out[base + ".experts.down_proj"] = torch.stack([by[j, down] for j in range(n)])
    return out


def to_minimax_m3(tensors):
    """MiniMax-M3 as it is released; transformers' text model has gate and up in one, and other names (plain.py)."""
    out = {}
    for name, t in tensors.items():
        base, leaf = re.match(r"(model\.layers\.\d+\.|)(.*)", name).groups()
        leaf = re.sub(r"^self_attn\.indexer\.", "self_attn.index_", leaf)
        leaf = leaf.replace("mlp.gate.e_score", "mlp.e_score")
        if re.match(r"mlp\.(e_score|gate\.|experts\.|shared_experts\.)", leaf):
            leaf = leaf.replace("mlp.", "block_sparse_moe.", 1)
        module = leaf.rsplit(".", 1)[0]
        if leaf.endswith("experts.gate_up_proj"):
            for j, w in enumerate(t):
                gate, up = w.chunk(2)
                out |= {f"{base}{module}.{j}.w1.weight": gate.clone(), f"{base}{module}.{j}.w3.weight": up.clone()}
        elif leaf.endswith("experts.down_proj"):
            out |= {f"{base}{module}.{j}.w2.weight": w.clone() for j, w in enumerate(t)}
        elif leaf.endswith("gate_up_proj.weight"):
            gate, up = t.chunk(2)
            out |= {base + leaf.replace("gate_up", "gate"): gate.clone(), base + leaf.replace("gate_up", "up"): up.clone()}
        else:
            out[base + leaf] = t
    return out


def to_input_major(tensors):
    """Fused, as Qwen3-VL-MoE is released: [expert, in, out]."""
    return {k: t.transpose(1, 2).contiguous() if ".experts." in k else t for k, t in tensors.items()}


def to_split(tensors):
    """Llama4's fused, input-major experts as three matrices each."""
    out = {}
    for name, t in tensors.items():
        base = name.rsplit(".", 1)[0]
        if name.endswith("experts.gate_up_proj"):
            for j, w in enumerate(t):
                gate, up = w.T.chunk(2)
                out |= {f"{base}.{j}.gate_proj.weight": gate.contiguous(), f"{base}.{j}.up_proj.weight": up.contiguous()}
        elif name.endswith("experts.down_proj"):
            out |= {f"{base}.{j}.down_proj.weight": w.T.contiguous() for j, w in enumerate(t)}
        else:
            out[name] = t
    return out


def to_mxfp4(tensors):
    out = {}
    for name, t in tensors.items():
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            out[name + "_blocks"], out[name + "_scales"] = mxfp4_encode(t.transpose(1, 2).contiguous())
        else:
            out[name] = t
    return out


NOT_FP8 = re.compile(r"embed_tokens|lm_head|norm|eh_proj|shared_head|\.gate\.weight$|bias$")


def to_fp8(tensors, encode=fp8_encode, suffix="_scale_inv"):
    out = {}
    for name, t in tensors.items():
        if NOT_FP8.search(name):
            out[name] = t
        else:
            out[name], out[name + suffix] = encode(t)
    return out


def to_fp8_rows(tensors):
    return to_fp8(tensors, fp8_rows_encode, "_scale")


def ct_group(kind, bits, targets, **weights):
    """A group of config_groups."""
    return {
        "format": kind,
        "input_activations": None,
        "output_activations": None,
        "targets": [f"re:{t}" for t in targets],
        "weights": {"dynamic": False, "num_bits": bits, "symmetric": True, **weights},
    }


def ct_expert(expert):
    return [rf".*layers\.{layer}\.mlp\.experts\.{expert}\..*" for layer in (0, 1)]


# Something else in each expert, and in attention.
CT_MIXED = {
    "config_groups": {
        "0": ct_group("pack-quantized", 4, ct_expert(0), type="int", strategy="group", group_size=16, symmetric=False),
        "1": ct_group("pack-quantized", 3, ct_expert(1), type="int", strategy="group", group_size=32, symmetric=False),
        "2": ct_group("pack-quantized", 8, ct_expert(2), type="int", strategy="channel"),
        "3": ct_group("pack-quantized", 4, ct_expert(3), type="int", strategy="channel", symmetric=False),
        "4": ct_group("int-quantized", 8, ct_expert(4), type="int", strategy="channel", symmetric=False),
        "5": ct_group("float-quantized", 8, ct_expert(5), type="float", strategy="tensor"),
        "6": ct_group("float-quantized", 8, ct_expert(6), type="float", strategy="block", block_structure=[24, 48]),
        "7": ct_group("mxfp8-quantized", 8, ct_expert(7), type="float", strategy="group", group_size=32, scale_dtype="torch.uint8"),
        "8": ct_group("mxfp4-pack-quantized", 4, ct_expert(8), type="float", strategy="group", group_size=32, scale_dtype="torch.uint8"),
        "9": ct_group(
            "nvfp4-pack-quantized", 4, ct_expert(9), type="float", strategy="tensor_group", group_size=16, scale_dtype="torch.float8_e4m3fn"
        ),
        "attention": ct_group("int-quantized", 8, [r".*self_attn\.[qkvo]_proj"], type="int", strategy="tensor"),
    },
    "format": "mixed-precision",
    "ignore": ["lm_head", "re:.*mlp.gate$", r"re:.*layers\.1\.mlp\.experts\.11\..*", "model.layers.0.mlp.experts.11.up_proj"],
    "quant_method": "compressed-tensors",
    "quantization_status": "compressed",
}


def to_ct_mixed(tensors):
    return ct.encode_all(tensors, CT_MIXED)


def to_fp8_scales(tensors):
    """Blocks with scales of every dtype, and codes of 4 bits in signed bytes: another in each expert."""
    out = {}
    for name, t in tensors.items():
        m = re.search(r"experts\.(\d+)\.", name)
        if NOT_FP8.search(name):
            out[name] = t
            continue
        kind = int(m[1]) if m else 0
        scale = f"{name}_scale_inv"
        out[name], out[scale] = fp8_encode(t, 32)
        if kind == 1:
            out[scale] = out[scale].bfloat16()
        elif kind in (2, 3):
            out[scale] = powers(out[scale])
        elif kind == 4:
            blocks, out[scale] = mxfp4_encode(t)
            out[name] = blocks.flatten(1).view(torch.int8)
        if kind == 2:
            out[scale] = out[scale].view(torch.float8_e8m0fnu)
    return out


def to_fp8_whole(tensors):
    """One scale for each matrix, and one for what it is multiplied with; both of no dimension or of one."""
    out = {}
    for name, t in tensors.items():
        if NOT_FP8.search(name):
            out[name] = t
            continue
        scale = t.float().abs().max() / 448
        out[name] = (t.float() / scale).to(torch.float8_e4m3fn)
        out[name + "_scale"] = scale if "up_proj" in name else scale.reshape(1)
        out[name.removesuffix("weight") + "input_scale"] = torch.ones(())
    return out


LAYOUTS = {
    "input-major": to_input_major,
    "minimax-m3": to_minimax_m3,"fp8-scales": to_fp8_scales, "fp8-whole": to_fp8_whole, "ct-mixed": to_ct_mixed, "fused": to_fused, "split": to_split, "mxfp4": to_mxfp4, "fp8": to_fp8, "fp8-rows": to_fp8_rows, None: dict, **packed.LAYOUTS}

QUANTIZATION = {
    "ct-mixed": CT_MIXED,
    "mxfp4": {
        "quant_method": "mxfp4",
        "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"],
    },
    "fp8-scales": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [32, 32]},
    "fp8-whole": {"activation_scheme": "static", "quant_method": "fp8"},
    "fp8": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]},
    "fp8-rows": {
        "config_groups": {
            "FP8_DYNAMIC": {
                "format": "float-quantized",
                "input_activations": {"dynamic": True, "num_bits": 8, "strategy": "token", "symmetric": True, "type": "float"},
                "targets": ["Linear"],
                "weights": {"dynamic": False, "num_bits": 8, "strategy": "channel", "symmetric": True, "type": "float"},
            }
        },
        "format": "float-quantized",
        "ignore": ["re:.*lm_head", "re:.*embed_tokens", "re:.*mlp.gate$"],
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
    },
    **packed.QUANTIZATION,
}
