"""Checkpoints of compressed-tensors: written by the library, decoded here, and the two compared.

A group of config_groups has a list of targets; the first group with a regular expression that a module's name matches
is the module's, or one of all linear layers. Other modules stay as they are.
"""

import re

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from formats import E2M1


def group_of(name, config):
    for group in config["config_groups"].values():
        if any(t == "Linear" or re.match(t.removeprefix("re:"), name) for t in group["targets"]):
            return {"format": config["format"]} | group
    return None


def scheme_of(group):
    return QuantizationScheme(targets=group["targets"], weights=QuantizationArgs(**group["weights"]), format=group["format"])


def tiles(w, args):
    """The elements that share a scale along the last dimension; edges are filled with zeros."""
    out, inn = w.shape
    strategy = args.strategy
    bm, bn = {
        "tensor": (out, inn),
        "channel": (1, inn),
        "block": args.block_structure or (1, 1),
        "group": (1, args.group_size),
        "tensor_group": (1, args.group_size),
    }[strategy]
    rows, cols = -(-out // bm), -(-inn // bn)
    full = torch.zeros(rows * bm, cols * bn)
    full[:out, :inn] = w.float()
    return full.reshape(rows, bm, cols, bn).transpose(1, 2).flatten(2)


def quantize(w, group):
    """{suffix: tensor} of one module."""
    scheme = scheme_of(group)
    args, state = scheme.weights, {}
    t = tiles(w, args)
    if args.strategy == "tensor_group":
        state["weight_global_scale"] = generate_gparam(w.float().min(), w.float().max())
    scale, zero = calculate_qparams(t.amin(-1), t.amax(-1), args, state.get("weight_global_scale"))
    state |= {"weight": w, "weight_scale": scale.to(w.dtype if scale.dtype == torch.float32 else scale.dtype), "weight_zero_point": zero}
    if args.strategy == "tensor":
        state |= {k: state[k].reshape(1) for k in ("weight_scale", "weight_zero_point")}
    out = BaseCompressor.get_value_from_registry(group["format"]).compress(state, scheme)
    check(out, scheme, group)
    return {k: v for k, v in out.items() if torch.is_tensor(v)}


def unpack(words, bits, n):
    """Codes of a row of little-endian words, as one string of bits."""
    b = words.contiguous().view(torch.uint8).long()
    string = torch.stack([b >> i & 1 for i in range(8)], -1).flatten(-2)
    return (string[..., : n * bits].reshape(*words.shape[:-1], n, bits) << torch.arange(bits)).sum(-1)


def codes(state, args, n):
    """The numbers before they are scaled, f32."""
    if "weight_packed" not in state:
        return state["weight"].float()
    packed = state["weight_packed"]
    if packed.dtype == torch.int32:
        return (unpack(packed, args.num_bits, n) - 2 ** (args.num_bits - 1)).float()
    return E2M1[torch.stack([packed & 15, packed >> 4], -1).flatten(-2).long()]


def decode(state, group):
    """f32 [out, in] of one module's tensors."""
    args = scheme_of(group).weights
    n = int(state["weight_shape"][1]) if "weight_shape" in state else state.get("weight", state.get("weight_packed")).shape[1]
    n *= 2 if "weight_packed" in state and state["weight_packed"].dtype == torch.uint8 else 1
    value, scale = codes(state, args, n), state["weight_scale"]
    scale = torch.exp2(scale.float() - 127) if scale.dtype == torch.uint8 else scale.float()
    if "weight_global_scale" in state:
        scale = scale / state["weight_global_scale"]
    zero = torch.zeros_like(scale)
    if "weight_zero_point" in state:
        zero = state["weight_zero_point"]
        if zero.dtype == torch.int32:
            zero = unpack(zero.T, args.num_bits, value.shape[0]).T - 2 ** (args.num_bits - 1)
        zero = zero.float()
    bm, bn = {"block": args.block_structure, "channel": (1, n), "tensor": value.shape}.get(args.strategy, (1, args.group_size))
    spread = lambda x: x.reshape(-(-value.shape[0] // bm), -1).repeat_interleave(bm, 0).repeat_interleave(bn, 1)[: value.shape[0], :n]
    return (value - spread(zero)) * spread(scale)


def check(state, scheme, group):
    """The library's own decoding rounds to bf16."""
    own = BaseCompressor.get_value_from_registry(group["format"]).decompress(dict(state), scheme)["weight"].float()
    here = decode(state, group)
    if not torch.allclose(own, here, rtol=2**-7, atol=1e-6):
        raise SystemExit(f"{group['format']}: decoded to other numbers than compressed-tensors does, by {(own - here).abs().max()}")


def encode_all(tensors, config):
    out = {}
    for name, t in tensors.items():
        module = name.removesuffix(".weight")
        group = group_of(module, config) if name.endswith(".weight") and t.dim() == 2 else None
        if group:
            out |= {f"{module}.{k}": v for k, v in quantize(t, group).items()}
        else:
            out[name] = t
    return out


def decode_all(tensors, config):
    modules = {}
    scaled = {k.removesuffix(".weight_scale") for k in tensors if k.endswith(".weight_scale")}
    for name in [k for k in tensors if k.rsplit(".", 1)[0] in scaled and group_of(k.rsplit(".", 1)[0], config)]:
        module, suffix = name.rsplit(".", 1)
        if suffix == "bias":
            continue
        modules.setdefault(module, {})[suffix] = tensors.pop(name)
    for module, state in modules.items():
        tensors[module + ".weight"] = decode(state, group_of(module, config))
