"""Number formats and checkpoint files: MXFP4 and block-scaled FP8 written and read by hand, tensors of a directory.

Nothing here needs transformers. Tensors are torch tensors on the CPU.
"""

import json
import os

import torch
from safetensors import safe_open
from safetensors.torch import save_file

# ---- MXFP4 as in GPT-OSS: two e2m1 codes a byte, low nibble first, one e8m0 scale for 32 values ----

E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def mxfp4_encode(w):
    """w [..., n], n % 32 == 0 -> blocks u8 [..., n/32, 16], scales u8 [..., n/32]; nearest value, ties to even code."""
    w = w.float().reshape(*w.shape[:-1], -1, 32)
    biggest = w.abs().amax(-1)
    exponent = torch.where(biggest > 0, torch.floor(torch.log2(biggest.clamp_min(1e-38))) - 2, torch.zeros(()))
    scaled = (w / torch.exp2(exponent)[..., None]).clamp(-6, 6)
    half_way = (E2M1[:7] + E2M1[1:8]) / 2
    code = torch.zeros(scaled.shape, dtype=torch.int64)
    for i, edge in enumerate(half_way):
        code += (scaled.abs() > edge) | ((scaled.abs() == edge) & (i % 2 == 1))
    code += 8 * (scaled < 0)
    low, high = code[..., 0::2], code[..., 1::2]
    return (low | high << 4).to(torch.uint8), (exponent + 127).to(torch.uint8)


def mxfp4_decode(blocks, scales):
    """The inverse: f32 [..., n]."""
    code = torch.stack([blocks & 15, blocks >> 4], -1).flatten(-2).long()
    value = E2M1[code] * torch.exp2(scales.float() - 127)[..., None]
    return value.flatten(-2)


# ---- FP8 as in DeepSeek-V3: e4m3, one f32 factor ("weight_scale_inv", which multiplies) per 128 x 128 block ----


def fp8_encode(w, block=128):
    """w [out, in] -> e4m3 [out, in], f32 [ceil(out/128), ceil(in/128)]."""
    out, inn = w.shape
    scale = torch.empty(-(-out // block), -(-inn // block))
    q = torch.empty(w.shape, dtype=torch.float8_e4m3fn)
    for i in range(scale.shape[0]):
        for j in range(scale.shape[1]):
            part = (slice(i * block, (i + 1) * block), slice(j * block, (j + 1) * block))
            scale[i, j] = w[part].float().abs().max().clamp_min(1e-12) / 448
            q[part] = (w[part].float() / scale[i, j]).clamp(-448, 448).to(torch.float8_e4m3fn)
    return q, scale


def powers(scale):
    """Rounded up to powers of two, as bytes: 2^(byte - 127)."""
    return (torch.ceil(torch.log2(scale)) + 127).to(torch.uint8)


def fp8_decode(q, scale, block=128):
    if scale.dtype in (torch.uint8, torch.float8_e8m0fnu):
        scale = torch.exp2(scale.view(torch.uint8).float() - 127)
    if scale.dim() == 0:
        return q.float() * scale.float()
    if q.dtype == torch.int8:  # two e2m1 codes, and a scale for 32 of a row
        return mxfp4_decode(q.view(torch.uint8).reshape(q.shape[0], -1, 16), torch.log2(scale) + 127)
    big = scale.float().repeat_interleave(block, 0).repeat_interleave(block, 1)
    return q.float() * big[: q.shape[0], : q.shape[1]]


# ---- FP8 as in compressed-tensors, strategy "channel": e4m3, one bfloat16 factor ("weight_scale") for each row ----


def fp8_rows_encode(w):
    """w [out, in] -> e4m3 [out, in], bf16 [out, 1]."""
    scale = (w.float().abs().amax(1, keepdim=True).clamp_min(1e-12) / 448).bfloat16()
    return (w.float() / scale.float()).clamp(-448, 448).to(torch.float8_e4m3fn), scale


def fp8_rows_decode(q, scale):
    return q.float() * scale.float()


# ---- directories ----


def read_json(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def read_tensors(directory):
    """All tensors of a checkpoint, by name."""
    index = os.path.join(directory, "model.safetensors.index.json")
    single = os.path.join(directory, "model.safetensors")
    files = ["model.safetensors"] if os.path.exists(single) else sorted(set(read_json(index)["weight_map"].values()))
    tensors = {}
    for name in files:
        with safe_open(os.path.join(directory, name), "pt") as f:
            tensors.update({k: f.get_tensor(k) for k in f.keys()})
    return tensors


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=2, sort_keys=True)
        f.write("\n")


def write_tensors(directory, tensors, shards=1):
    """model.safetensors, or that many shards and an index; names in order, so the same tensors give the same bytes."""
    names = sorted(tensors)
    if shards == 1:
        save_file({k: tensors[k].contiguous() for k in names}, os.path.join(directory, "model.safetensors"), {"format": "pt"})
        return
    size = {k: tensors[k].numel() * tensors[k].element_size() for k in names}
    total, done, where = sum(size.values()), 0, {}
    for k in names:
        where[k] = f"model-{min(shards - 1, done * shards // total) + 1:05d}-of-{shards:05d}.safetensors"
        done += size[k]
    for name in sorted(set(where.values())):
        part = {k: tensors[k].contiguous() for k in names if where[k] == name}
        save_file(part, os.path.join(directory, name), {"format": "pt"})
    write_json(
        os.path.join(directory, "model.safetensors.index.json"),
        {"metadata": {"total_size": total}, "weight_map": where},
    )
