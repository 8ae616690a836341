"""The weights of a GGUF file in another type of ggml, by llama.cpp's own quantizing functions (ggml_quantize_chunk).

    retype.py IN.gguf OUT.gguf TYPE [EXPERTS] [KEY=NUMBER...]

TYPE for every matrix but routers, EXPERTS (else TYPE as well) for the routed experts: f32, q8_0, q4_k, mxfp4, ..., or same.
Where rows are not whole blocks, what llama.cpp's quantizer takes instead. f32 gives the decoded file: what the file says,
without what an engine rounds besides. Prints how many tensors are of each type. A file without a tokenizer gets the key
for the number of words that llama.cpp wants then; KEY, of the metadata, gets another NUMBER.
"""

import ctypes as c
import sys
from collections import Counter

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T

from llama import open_library

# llama-quant.cpp, tensor_type_fallback
INSTEAD = {T.Q4_K: T.Q5_0, T.Q5_K: T.Q5_1, T.Q6_K: T.Q8_0, T.TQ1_0: T.Q4_0, T.TQ2_0: T.Q4_0}


def fitting(kind, width):
    if width % GGML_QUANT_SIZES[kind][0]:
        kind = INSTEAD.get(kind, T.IQ4_NL)
    return kind if width % GGML_QUANT_SIZES[kind][0] == 0 else T.F16


def encode(lib, values, kind):
    """values [rows, width] f32 -> bytes [rows, n]."""
    block, size = GGML_QUANT_SIZES[kind]
    rows, width = values.shape
    out = np.empty((rows, width // block * size), np.uint8)
    # types of fewer than 3 bits want to know which columns matter: all of them alike
    weights = np.ones(width, np.float32)
    lib.ggml_quantize_chunk(kind, values.ctypes.data, out.ctypes.data, 0, rows, width, weights.ctypes.data if lib.ggml_quantize_requires_imatrix(kind) else None)
    return out


def decode(lib, tensor):
    """f32 values, by gguf's own code where it has some for the type, else by llama.cpp's."""
    kind = T(tensor.tensor_type)
    try:
        return np.ascontiguousarray(gguf.quants.dequantize(tensor.data, kind), np.float32)
    except NotImplementedError:
        block, size = GGML_QUANT_SIZES[kind]
        data = np.ascontiguousarray(tensor.data)
        out = np.empty(data.size // size * block, np.float32)
        function = getattr(lib, "dequantize_row_" + kind.name.lower().replace("_k", "_K"))
        function(c.c_void_p(data.ctypes.data), c.c_void_p(out.ctypes.data), c.c_int64(out.size))
        return out


def copy_keys(reader, writer, arch, edits):
    words = next(int(t.shape[1]) for t in reader.tensors if t.name == "token_embd.weight")
    if "tokenizer.ggml.tokens" not in reader.fields and f"{arch}.vocab_size" not in reader.fields:
        writer.add_vocab_size(words)
    for f in reader.fields.values():
        if f.name.startswith("GGUF.") or f.name == gguf.Keys.General.ARCHITECTURE:
            continue
        of = f.types[-1] if f.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(f.name, edits.get(f.name, f.contents()), f.types[0], sub_type=of)


def wanted(tensor, name, width):
    if name == "same":
        return tensor.tensor_type
    kind = T[name.upper()]
    matrix = len(tensor.shape) > 1 and tensor.name.endswith(".weight") and "ffn_gate_inp" not in tensor.name
    return fitting(kind, width) if matrix else kind if kind == T.F32 else tensor.tensor_type


def main(source, target, name, *rest):
    experts = next((x for x in rest if "=" not in x), name)
    edits = {k: float(v) for k, v in (x.split("=") for x in rest if "=" in x)}
    lib, reader, done = open_library(), gguf.GGUFReader(source), Counter()
    arch = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    writer = gguf.GGUFWriter(target, arch)
    copy_keys(reader, writer, arch, edits)
    for t in reader.tensors:
        shape = [int(n) for n in reversed(t.shape)]
        kind = wanted(t, experts if "_exps" in t.name else name, shape[-1])
        done[kind.name] += 1
        if kind == t.tensor_type:
            writer.add_tensor(t.name, t.data, raw_dtype=kind)
            continue
        values = decode(lib, t).reshape(-1, shape[-1])
        data = values.reshape(shape) if kind == T.F32 else encode(lib, values, kind).reshape(*shape[:-1], -1)
        writer.add_tensor(t.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(", ".join(f"{n} {k}" for k, n in done.most_common()))


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
