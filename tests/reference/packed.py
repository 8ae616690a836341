"""Integers as GPTQ, AWQ and AutoRound pack them, and ModelOpt's formats: written and read by hand.

Every layout here mixes what a model may mix: widths, groups, orders of elements, formats.
"""

import re

import torch

from formats import E2M1, fp8_encode, mxfp4_encode

NOT_CODED = re.compile(r"embed_tokens|lm_head|norm|bias$|sinks$|\.(gate|router)\.weight$")
FUSED = re.compile(r"\.experts\.(gate_up|down)_proj$")

# ---- strings of bits in words of 32, along dimension 0 ----


def to_words(codes, bits):
    """codes [n, m] -> i32 [ceil(n * bits / 32), m], the first in the lowest bits."""
    string = torch.stack([codes >> i & 1 for i in range(bits)], 1).flatten(0, 1).long()
    string = torch.cat([string, string.new_zeros(-len(string) % 32, string.shape[1])])
    words = (string.reshape(-1, 32, string.shape[1]) << torch.arange(32)[None, :, None]).sum(1)
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)


def from_words(words, bits, n):
    string = (words.long()[:, None] >> torch.arange(32)[None, :, None] & 1).flatten(0, 1)[: n * bits]
    return (string.reshape(n, bits, -1) << torch.arange(bits)[None, :, None]).sum(1)


# ---- (q - zero) * scale, by groups of inputs ----


def integers(w, bits, g_idx, least_zero):
    """w [out, in] -> codes [in, out], zero points and f16 scales [groups, out]."""
    w, most = w.float().T, (1 << bits) - 1
    groups = int(g_idx.max()) + 1
    low = torch.stack([w[g_idx == g].amin(0).clamp_max(0) for g in range(groups)])
    high = torch.stack([w[g_idx == g].amax(0).clamp_min(0) for g in range(groups)])
    scale = ((high - low) / most).clamp_min(1e-4).half()
    zero = (-low / scale.float()).round().clamp(least_zero, most).long()
    return (w / scale.float()[g_idx] + zero[g_idx]).round().clamp(0, most).long(), zero, scale


def gptq_encode(w, bits, group, v1=True, shuffled=False):
    size = w.shape[1]
    g_idx = torch.arange(size) // (group if group > 0 else size)
    if shuffled:
        g_idx = g_idx[torch.arange(size) * 5 % size]
    codes, zero, scale = integers(w, bits, g_idx, int(v1))
    return {
        "qweight": to_words(codes, bits),
        "qzeros": to_words((zero - int(v1)).T, bits).T.contiguous(),
        "scales": scale,
        "g_idx": g_idx.to(torch.int32),
    }


def gptq_decode(t, v1):
    groups, out = t["scales"].shape
    bits = t["qzeros"].shape[1] * 32 // out
    size = t["qweight"].shape[0] * 32 // bits
    g_idx = t["g_idx"].long() if "g_idx" in t else torch.arange(size) // (size // groups)
    zero = from_words(t["qzeros"].T, bits, out).T + int(v1)
    return ((from_words(t["qweight"], bits, size) - zero[g_idx]).float() * t["scales"].float()[g_idx]).T


AWQ = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])  # outputs from the lowest bits of a word on


def awq_words(codes):
    """[n, out] -> i32 [n, out/8]."""
    return to_words(codes.unflatten(1, (-1, 8))[:, :, AWQ].flatten(1).T, 4).T.contiguous()


def awq_codes(words):
    codes = from_words(words.T, 4, 8 * words.shape[1]).T.unflatten(1, (-1, 8))
    out = torch.empty_like(codes)
    out[:, :, AWQ] = codes
    return out.flatten(1)


def awq_encode(w, group):
    codes, zero, scale = integers(w, 4, torch.arange(w.shape[1]) // group, 0)
    return {"qweight": awq_words(codes), "qzeros": awq_words(zero), "scales": scale}


def awq_decode(t):
    codes = awq_codes(t["qweight"])
    g_idx = torch.arange(len(codes)) // (len(codes) // len(t["scales"]))
    return ((codes - awq_codes(t["qzeros"])[g_idx]).float() * t["scales"].float()[g_idx]).T


# ---- NVFP4: e2m1, an e4m3 scale for 16 values, one f32 for the matrix; MXFP8: e4m3, an e8m0 scale for 32 ----


def nvfp4_encode(w, most=None):
    """w [..., in] -> u8 [..., in/2], e4m3 [..., in/16], f32 []."""
    w = w.float().unflatten(-1, (-1, 16))
    whole = (w.abs().max() if most is None else most) / (6 * 448)
    scale = (w.abs().amax(-1) / 6 / whole).clamp(2**-6, 448).to(torch.float8_e4m3fn)
    near = (w / (scale.float() * whole)[..., None]).abs()[..., None] - E2M1[:8]
    code = (near.abs().argmin(-1) + 8 * (w < 0)).flatten(-2)
    return (code[..., 0::2] | code[..., 1::2] << 4).to(torch.uint8), scale, whole


def nvfp4_decode(q, scale, whole):
    code = torch.stack([q & 15, q >> 4], -1).flatten(-2).long()
    return (E2M1[code].unflatten(-1, (-1, 16)) * (scale.float() * whole.float())[..., None]).flatten(-2)


def mxfp8_encode(w):
    w = w.float().unflatten(-1, (-1, 32))
    exponent = torch.floor(torch.log2(w.abs().amax(-1).clamp_min(1e-30))) - 8
    q = (w / torch.exp2(exponent)[..., None]).clamp(-448, 448).to(torch.float8_e4m3fn)
    return q.flatten(-2), (exponent + 127).to(torch.uint8)


def mx_decode(q, scale):
    value = q.float() if q.dtype != torch.uint8 else E2M1[torch.stack([q & 15, q >> 4], -1).flatten(-2).long()]
    return (value.unflatten(-1, (-1, 32)) * torch.exp2(scale.float() - 127)[..., None]).flatten(-2)


# ---- layouts ----


def coded(tensors, encode):
    """encode(module, w) -> pieces of every matrix that is quantized."""
    out = {}
    for name, t in tensors.items():
        if NOT_CODED.search(name):
            out[name] = t
        else:
            base = name.removesuffix(".weight")
            out |= {f"{base}{'_' if FUSED.search(base) and k else '.' if k else ''}{k}": x for k, x in encode(base, t).items()}
    return out


def to_gptq(tensors):
    """4 bits by groups of 16 in act order; 8 and 3 bits where `dynamic` says so."""

    def encode(base, w):
        if base.endswith("down_proj"):
            return gptq_encode(w, 8, 32)
        return gptq_encode(w, 3, -1) if re.search(r"experts\.1\.", base) else gptq_encode(w, 4, 16, shuffled=True)

    return coded(tensors, encode)


def to_autoround(tensors):
    """Zero points as they are, no g_idx; 2 bits for one expert."""

    def encode(base, w):
        pieces = gptq_encode(w, 2 if re.search(r"layers\.1\..*experts\.2\.", base) else 4, 16, v1=False)
        del pieces["g_idx"]
        return pieces

    return coded(tensors, encode)


def to_awq(tensors):
    return coded(tensors, lambda base, w: awq_encode(w, 16))


def split_modelopt(base, w):
    """Experts in NVFP4, attention in FP8 of all granularities, what is dense in MXFP8."""
    most = w.float().abs().max()
    if ".experts." in base:
        q, scale, whole = nvfp4_encode(w)
        return {"weight": q, "weight_scale": scale, "weight_scale_2": whole, "input_scale": torch.tensor(0.5)}
    if "q_proj" in base:
        scale = w.float().abs().amax(1) / 448
        return {"weight": (w.float() / scale[:, None]).to(torch.float8_e4m3fn), "weight_scale": scale}
    if "o_proj" in base:
        q, scale = fp8_encode(w)
        return {"weight": q, "weight_scale": scale[:, None, :, None]}
    if "self_attn" in base:
        return {"weight": (w.float() / (most / 448)).to(torch.float8_e4m3fn), "weight_scale": most / 448, "input_scale": torch.tensor(0.25)}
    q, scale = mxfp8_encode(w)
    return {"weight": q, "weight_scale": scale}


def to_modelopt(tensors):
    out = coded(tensors, split_modelopt)
    return out | {k.replace("weight_scale", "k_scale"): torch.tensor(1.0) for k in out if k.endswith("k_proj.weight_scale")}


def to_modelopt_nvfp4(tensors):
    """All experts of a layer together, blocks along the inputs, one number for all."""

    def encode(base, w):
        if not FUSED.search(base):
            return {"weight": w}
        q, scale, whole = nvfp4_encode(w.transpose(1, 2))
        turned = {"": q.transpose(1, 2).contiguous(), "weight_scale": scale.transpose(1, 2).contiguous()}
        return turned | {"weight_scale_2": whole, "input_scale": torch.tensor(0.5)}

    return coded(tensors, encode)


def to_modelopt_mx(tensors):
    """All experts of a layer together, blocks along the last dimension; what is beside them FP8, a number for each expert."""

    def encode(base, w):
        if base.endswith("gate_up_proj"):
            q, scale = mxfp8_encode(w)
            return {"": q, "weight_scale": scale}
        if FUSED.search(base):
            q, scale = mxfp4_encode(w)
            return {"": q.flatten(-2), "weight_scale": scale}
        scale = w.float().abs().max() / 448
        return {"weight": (w.float() / scale).to(torch.float8_e4m3fn), "weight_scale": scale}

    return coded(tensors, encode)


LAYOUTS = {
    "gptq": to_gptq,
    "autoround": to_autoround,
    "awq": to_awq,
    "modelopt": to_modelopt,
    "modelopt-nvfp4": to_modelopt_nvfp4,
    "modelopt-mx": to_modelopt_mx,
}

QUANTIZATION = {
    "gptq": {
        "bits": 4,
        "checkpoint_format": "gptq",
        "desc_act": True,
        "dynamic": {
            "-:.*mlp\\.gate$": {},
            "+:.*down_proj": {"bits": 8, "group_size": 32},
            "+:model\\.layers\\.0\\.mlp\\.experts\\.1\\..*": {"bits": 3, "group_size": -1},
            "+:model\\.layers\\.1\\.mlp\\.experts\\.1\\..*": {"bits": 3, "group_size": -1},
        },
        "group_size": 16,
        "pack_dtype": "int32",
        "quant_method": "gptq",
        "sym": False,
    },
    "autoround": {
        "bits": 4,
        "data_type": "int",
        "extra_config": {"model.layers.1.mlp.experts.2." + p: {"bits": 2} for p in ("down_proj", "gate_proj", "up_proj")},
        "group_size": 16,
        "packing_format": "auto_round",
        "quant_method": "auto-round",
        "sym": False,
    },
    "awq": {
        "bits": 4,
        "group_size": 16,
        "modules_to_not_convert": ["lm_head", "model.layers.1.mlp.gate"],
        "quant_method": "awq",
        "version": "gemm",
        "zero_point": True,
    },
    "modelopt-nvfp4": {
        "ignore": ["lm_head", "model.layers.0.self_attn*"],
        "kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"},
        "producer": {"name": "modelopt", "version": "0.29.0"},
        "quant_algo": "NVFP4",
        "quant_method": "modelopt",
    },
    "modelopt-mx": {
        "producer": {"name": "modelopt", "version": "0.29.0"},
        "quant_algo": "MIXED_PRECISION",
        "quant_method": "modelopt",
        "quantized_layers": {
            "model.layers.0.feed_forward.experts.gate_up_proj": {"quant_algo": "MXFP8"},
            "model.layers.0.feed_forward.experts.down_proj": {"quant_algo": "mxfp4"},
            "model.layers.0.self_attn.q_proj": {"quant_algo": "FP8"},
        },
    },
}


def layers_modelopt(algorithm, experts):
    return {f"model.layers.1.mlp.experts.{e}.{p}_proj": {"quant_algo": algorithm, "group_size": 16} for e in range(experts) for p in ("gate", "up", "down")}


# Said in a file beside config.json alone, as older exports have it.
BESIDE = {
    "modelopt": (
        "hf_quant_config.json",
        {
            "producer": {"name": "modelopt", "version": "0.19.0"},
            "quantization": {
                "exclude_modules": ["lm_head"],
                "kv_cache_quant_algo": "FP8",
                "quant_algo": "MIXED_PRECISION",
                "quantized_layers": layers_modelopt("NVFP4", 6)
                | {
                    "model.layers.0.self_attn.q_proj": {"quant_algo": "FP8_PER_CHANNEL_PER_TOKEN"},
                    "model.layers.0.self_attn.k_proj": {"quant_algo": "FP8"},
                    "model.layers.0.self_attn.o_proj": {"quant_algo": "fp8_pb_wo"},
                    "model.layers.0.mlp.up_proj": {"quant_algo": "MXFP8"},
                },
            },
        },
    )
}


# ---- all of a checkpoint ----


def decode_integers(tensors, quantization):
    v1 = quantization.get("checkpoint_format", "gptq") == "gptq" and quantization.get("packing_format") in (None, "auto_round:auto_gptq")
    for name in [k for k in tensors if k.endswith(".qweight")]:
        base = name.removesuffix(".qweight")
        t = {k: tensors.pop(f"{base}.{k}") for k in ("qweight", "qzeros", "scales", "g_idx") if f"{base}.{k}" in tensors}
        tensors[base + ".weight"] = awq_decode(t) if quantization["quant_method"] == "awq" else gptq_decode(t, v1)


def modelopt_value(q, scale, whole):
    if whole is not None:
        turned = q.dim() == 3  # [expert, in, out]
        q, scale = (q.transpose(1, 2), scale.transpose(1, 2)) if turned else (q, scale)
        return nvfp4_decode(q, scale, whole).transpose(1, 2) if turned else nvfp4_decode(q, scale, whole)
    if scale.dtype == torch.uint8:
        return mx_decode(q, scale)
    if scale.dim() == 4:
        big = scale[:, 0, :, 0].repeat_interleave(128, 0).repeat_interleave(128, 1)
        return q.float() * big[: q.shape[0], : q.shape[1]]
    return q.float() * (scale[:, None] if scale.dim() == 1 else scale)


def decode_modelopt(tensors):
    for name in [k for k in tensors if re.search(r"(input_scale|[kv]_scale)$", k)]:
        del tensors[name]
    for name in [k for k in tensors if k.endswith("weight_scale")]:
        weight = name.removesuffix("_scale") if name.endswith(".weight_scale") else name.removesuffix("_weight_scale")
        tensors[weight] = modelopt_value(tensors[weight], tensors.pop(name), tensors.pop(name + "_2", None)).contiguous()


def decode(tensors, quantization):
    if quantization.get("quant_method") in ("gptq", "awq", "auto-round"):
        decode_integers(tensors, quantization)
    elif quantization.get("quant_method") == "modelopt":
        decode_modelopt(tensors)
