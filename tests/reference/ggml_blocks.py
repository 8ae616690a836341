"""Digests of decoded blocks of ggml, for tests/test_ggml.c: python tests/reference/ggml_blocks.py > tests/data/ggml/blocks.tsv

The blocks are random bytes (splitmix64, as the test makes them), so every bit of a block takes part, and scales
that are infinite, NaN or subnormal occur.  The gguf package decodes them; the types that it does not decode are
decoded here by hand.  Where a llama.cpp library is given (LLAMA_LIB=..., exports dequantize_row_X),
its values must be the same.  A NaN counts as 0x7fc00000, whatever its bits.
"""
import ctypes
import hashlib
import os
import sys

import numpy as np
from gguf import GGMLQuantizationType, quants

ELEMENTS = 8192  # of each type
TYPES = {"Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34),
         "Q8_1": (9, 32, 36), "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110), "Q4_K": (12, 256, 144),
         "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210), "Q8_K": (15, 256, 292), "IQ2_XXS": (16, 256, 66),
         "IQ2_XS": (17, 256, 74), "IQ3_XXS": (18, 256, 98), "IQ1_S": (19, 256, 50), "IQ4_NL": (20, 32, 18),
         "IQ3_S": (21, 256, 110), "IQ2_S": (22, 256, 82), "IQ4_XS": (23, 256, 136), "IQ1_M": (29, 256, 56),
         "TQ1_0": (34, 256, 54), "TQ2_0": (35, 256, 66), "MXFP4": (39, 32, 17), "NVFP4": (40, 64, 36),
         "Q1_0": (41, 128, 18), "Q2_0": (42, 64, 18)}


def splitmix64(x):
    x = (x + 0x9E3779B97F4A7C15) & (2**64 - 1)
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & (2**64 - 1)
    return x ^ x >> 31


def random_bytes(seed, n):
    return np.array([splitmix64((seed << 32) + i) & 255 for i in range(n)], np.uint8)


def by_hand(name, blocks):
    half = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    if name == "Q8_1":  # scale, sum, codes
        return half * blocks[:, 4:].view(np.int8).astype(np.float32)
    if name == "Q8_K":  # scale of float32, codes, sums
        return blocks[:, :4].copy().view(np.float32) * blocks[:, 4:260].copy().view(np.int8).astype(np.float32)
    if name == "Q1_0":  # scale, signs
        return half * (np.unpackbits(blocks[:, 2:], axis=1, bitorder="little").astype(np.float32) * 2 - 1)
    codes = (blocks[:, 2:, None] >> np.array([0, 2, 4, 6], np.uint8) & 3).reshape(len(blocks), 64)
    return half * (codes.astype(np.float32) - 1)


def decode(name, blocks):
    if name in ("Q8_1", "Q8_K", "Q1_0", "Q2_0"):
        return by_hand(name, blocks)
    return quants.dequantize(blocks, GGMLQuantizationType[name])


def by_llama(lib, name, blocks):
    out = np.zeros(ELEMENTS, np.float32)
    f = getattr(lib, "dequantize_row_" + name.lower().replace("_k", "_K"))
    f.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    f(blocks.ctypes.data, out.ctypes.data, ELEMENTS)
    return out


def bits(values):
    b = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32).copy()
    b[(b & 0x7FFFFFFF) > 0x7F800000] = 0x7FC00000
    return b


def main():
    path = os.environ.get("LLAMA_LIB")
    lib = ctypes.CDLL(path) if path else None
    np.seterr(all="ignore")
    for name, (number, elements, size) in TYPES.items():
        blocks = random_bytes(number, ELEMENTS // elements * size).reshape(-1, size)
        b = bits(decode(name, blocks))
        if lib and name != "Q8_1" and not np.array_equal(b, bits(by_llama(lib, name, blocks))):
            c = bits(by_llama(lib, name, blocks))
            at = np.flatnonzero(b != c)
            sys.exit(f"{name}: llama.cpp makes {c[at[0]]:08x}, not {b[at[0]]:08x}, of element {at[0]} ({len(at)} differ)")
        print(name, number, hashlib.sha256(b.tobytes()).hexdigest(), sep="\t")


if __name__ == "__main__":
    main()
