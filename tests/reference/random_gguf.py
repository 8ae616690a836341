#!/usr/bin/env python3
"""random_gguf.py SHAPE.json TYPE OUT.gguf [LAYERS] -- a GGUF file of random weights in a Qwen3-MoE shape of tests/shapes.

TYPE (Q4_K, Q6_K, Q8_0, Q4_0, IQ4_NL or BF16) is that of all matrices; norms and routers are F32. One random piece of 64 MiB
is written again and again: it measures speed, and its numbers mean nothing. numpy is all it needs.
"""
import json
import struct
import sys

import numpy as np

PIECE = 1 << 26
# number in the file, elements of a block, bytes of it, where in it half-precision factors lie
TYPES = {"BF16": (30, 1, 2, ()), "Q4_0": (2, 32, 18, (0,)), "Q8_0": (8, 32, 34, (0,)), "IQ4_NL": (20, 32, 18, (0,)),
         "Q4_K": (12, 256, 144, (0, 2)), "Q6_K": (14, 256, 210, (208,))}


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def main(shape, kind, out, layers=None):
    c = json.load(open(shape))
    number, elements, size, factors = TYPES[kind]
    layers = int(layers or c["num_hidden_layers"])
    hidden, heads, kv, dim = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    experts, inner = c["num_experts"], c["moe_intermediate_size"]
    u32, f32 = (lambda v: struct.pack("<II", 4, v)), (lambda v: struct.pack("<If", 6, v))
    a = "qwen3moe."
    keys = [("general.architecture", struct.pack("<I", 8) + text("qwen3moe")), (a + "block_count", u32(layers)),
            (a + "context_length", u32(c["max_position_embeddings"])), (a + "embedding_length", u32(hidden)),
            (a + "feed_forward_length", u32(c["intermediate_size"])), (a + "attention.head_count", u32(heads)),
            (a + "attention.head_count_kv", u32(kv)), (a + "rope.freq_base", f32(c["rope_theta"])),
            (a + "attention.layer_norm_rms_epsilon", f32(c["rms_norm_eps"])), (a + "attention.key_length", u32(dim)),
            (a + "attention.value_length", u32(dim)), (a + "expert_count", u32(experts)),
            (a + "expert_used_count", u32(c["num_experts_per_tok"])), (a + "expert_feed_forward_length", u32(inner)),
            (a + "vocab_size", u32(c["vocab_size"]))]
    tensors = [("token_embd", (hidden, c["vocab_size"])), ("output_norm", (hidden,)), ("output", (hidden, c["vocab_size"]))]
    for n in range(layers):
        tensors += [(f"blk.{n}.{name}", dims) for name, dims in (
            ("attn_norm", (hidden,)), ("attn_q", (hidden, heads * dim)), ("attn_k", (hidden, kv * dim)),
            ("attn_v", (hidden, kv * dim)), ("attn_output", (heads * dim, hidden)), ("attn_q_norm", (dim,)),
            ("attn_k_norm", (dim,)), ("ffn_norm", (hidden,)), ("ffn_gate_inp", (hidden, experts)),
            ("ffn_gate_exps", (hidden, inner, experts)), ("ffn_up_exps", (hidden, inner, experts)),
            ("ffn_down_exps", (inner, hidden, experts)))]

    rng = np.random.default_rng(1)
    plain = rng.standard_normal(PIECE // 4, dtype=np.float32) * np.float32(.02)
    blocks = rng.integers(0, 256, (PIECE // size, size), dtype=np.uint8)
    for at in factors:
        blocks[:, at:at + 2] = np.frombuffer(np.float16(.002 if size > 100 else .004).tobytes(), np.uint8)
    coded = (plain.view(np.uint32) >> 16).astype(np.uint16).tobytes() if kind == "BF16" else blocks.tobytes()
    ones = np.ones(hidden, np.float32).tobytes()

    head, offset, data = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)), 0, []
    head += b"".join(text(k) + v for k, v in keys)
    for name, dims in tensors:
        is_coded = len(dims) > 1 and not name.endswith("gate_inp")
        count = int(np.prod(dims, dtype=np.int64))
        length = count // elements * size if is_coded else count * 4
        head += text(name + ".weight") + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        head += struct.pack("<IQ", number if is_coded else 0, offset)
        data.append((coded if is_coded else ones if len(dims) == 1 else plain.tobytes(), length))
        offset += -(-length // 32) * 32
    with open(out, "wb") as f:
        f.write(head + bytes(-len(head) % 32))
        for source, length in data:
            for at in range(0, length, len(source)):
                f.write(source[:min(len(source), length - at)])
            f.write(bytes(-length % 32))


if __name__ == "__main__":
    if not 4 <= len(sys.argv) <= 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
