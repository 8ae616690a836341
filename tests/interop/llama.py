"""llama.cpp through the C interface that PyPI's xllamacpp exports, by ctypes: logits, perplexity, greedy text.

    llama.py logits FILE.gguf IDS           IDS: 1,2,3; the likeliest token after each, and the mean nll
    llama.py perplexity FILE.gguf DATA N L  the first N texts of DATA (JSON lines), L tokens of each
    llama.py generate FILE.gguf IDS N       N tokens, the likeliest each time

Keys and values are cached in f32 and attention is not fused, so that a file of f32 gives what any engine gives in f32.
"""

import ctypes as c
import glob
import importlib.util
import json
import os
import sys

import numpy as np

F32 = 0


class ContextParams(c.Structure):
    """The front of llama_context_params. It is passed in memory: a longer one than the library's does no harm."""

    _fields_ = (
        [(k, c.c_uint32) for k in "n_ctx n_batch n_ubatch n_seq_max n_rs_seq n_outputs_max n_outputs_max_per_seq".split()]
        + [(k, c.c_int32) for k in "n_threads n_threads_batch context_type rope_type pooling attention flash_attention".split()]
        + [(k, c.c_float) for k in "rope_base rope_scale yarn_ext yarn_attn yarn_fast yarn_slow".split()]
        + [("yarn_context", c.c_uint32), ("defrag", c.c_float), ("callback", c.c_void_p), ("callback_data", c.c_void_p)]
        + [("type_k", c.c_int32), ("type_v", c.c_int32), ("rest", c.c_char * 512)]
    )


class ModelParams(c.Structure):
    _fields_ = [("all", c.c_char * 512)]


class Batch(c.Structure):
    _fields_ = [
        ("n_tokens", c.c_int32),
        ("token", c.POINTER(c.c_int32)),
        ("embd", c.c_void_p),
        ("pos", c.POINTER(c.c_int32)),
        ("n_seq_id", c.POINTER(c.c_int32)),
        ("seq_id", c.POINTER(c.POINTER(c.c_int32))),
        ("logits", c.POINTER(c.c_int8)),
    ]


LOG = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)
log_lines = []


@LOG
def keep_log(level, text, _):
    if level >= 3:
        log_lines.append(text.decode(errors="replace"))


def open_library():
    import xllamacpp  # noqa: F401  the object wants Python's symbols, and what this loads

    folder = os.path.dirname(importlib.util.find_spec("xllamacpp").origin)
    lib = c.CDLL(glob.glob(os.path.join(folder, "xllamacpp*.so"))[0], mode=c.RTLD_GLOBAL)
    pointer = c.c_void_p
    for name, result, *arguments in (
        ("llama_log_set", None, LOG, pointer),
        ("llama_model_default_params", ModelParams),
        ("llama_context_default_params", ContextParams),
        ("llama_model_load_from_file", pointer, c.c_char_p, ModelParams),
        ("llama_init_from_model", pointer, pointer, ContextParams),
        ("llama_model_get_vocab", pointer, pointer),
        ("llama_vocab_n_tokens", c.c_int32, pointer),
        ("llama_tokenize", c.c_int32, pointer, c.c_char_p, c.c_int32, c.POINTER(c.c_int32), c.c_int32, c.c_bool, c.c_bool),
        ("llama_batch_init", Batch, c.c_int32, c.c_int32, c.c_int32),
        ("llama_batch_free", None, Batch),
        ("llama_decode", c.c_int32, pointer, Batch),
        ("llama_get_logits", c.POINTER(c.c_float), pointer),
        ("llama_get_memory", pointer, pointer),
        ("llama_memory_clear", None, pointer, c.c_bool),
        ("llama_free", None, pointer),
        ("llama_model_free", None, pointer),
        ("ggml_quantize_requires_imatrix", c.c_bool, c.c_int),
        ("ggml_quantize_chunk", c.c_size_t, c.c_int, pointer, pointer, c.c_int64, c.c_int64, c.c_int64, pointer),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    lib.llama_log_set(keep_log, None)
    lib.llama_backend_init()
    return lib


def said():
    return "".join(log_lines[-8:]).strip()


class Llama:
    lib = None

    def __init__(self, path, n_ctx=512, threads=2):
        Llama.lib = lib = Llama.lib or open_library()
        log_lines.clear()
        self.model = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f"{path}: llama.cpp does not load it: {said()}")
        p = lib.llama_context_default_params()
        # f16, which is the default, where we think that the types of the cache are: else the structure has changed
        assert (p.type_k, p.type_v) == (1, 1), "llama_context_params of this xllamacpp are laid out in another way"
        p.n_ctx = p.n_batch = p.n_ubatch = n_ctx
        p.n_seq_max, p.n_threads, p.n_threads_batch = 1, threads, threads
        p.type_k = p.type_v = F32
        p.flash_attention = 0
        self.context = lib.llama_init_from_model(self.model, p)
        if not self.context:
            raise RuntimeError(f"{path}: llama.cpp does not run it: {said()}")
        self.vocab = lib.llama_model_get_vocab(self.model)
        self.words = lib.llama_vocab_n_tokens(self.vocab)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lib.llama_free(self.context)
        self.lib.llama_model_free(self.model)

    def tokens(self, text):
        b = text.encode()
        ids = (c.c_int32 * (len(b) + 8))()
        n = self.lib.llama_tokenize(self.vocab, b, len(b), ids, len(ids), True, False)
        assert n >= 0, "llama_tokenize"
        return list(ids[:n])

    def feed(self, ids, at):
        """Logits [len(ids), vocabulary] after each of ids, which stand from position at on."""
        batch = self.lib.llama_batch_init(len(ids), 0, 1)
        for i, t in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = t, at + i, 1, 1
            batch.seq_id[i][0] = 0
        batch.n_tokens = len(ids)
        status = self.lib.llama_decode(self.context, batch)
        self.lib.llama_batch_free(batch)
        if status:
            raise RuntimeError(f"llama_decode: {status}: {said()}")
        return np.ctypeslib.as_array(self.lib.llama_get_logits(self.context), (len(ids), self.words)).copy()

    def logits(self, ids):
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
        return self.feed([int(t) for t in ids], 0)

    def generate(self, ids, n):
        out, last = [], self.logits(ids)[-1]
        for i in range(n):
            out.append(int(last.argmax()))
            last = self.feed(out[-1:], len(ids) + i)[0]
        return out

    def perplexity(self, documents):
        """(perplexity, predicted tokens) of lists of ids, each from position 0."""
        total = count = 0
        for ids in documents:
            total += nll(self.logits(ids), ids)
            count += len(ids) - 1
        return float(np.exp(total / count)), count


def nll(logits, ids):
    x = logits[:-1].astype(np.float64)
    top = x.max(1)
    return float((top + np.log(np.exp(x - top[:, None]).sum(1)) - x[np.arange(len(x)), ids[1:]]).sum())


def texts(path, n):
    with open(path, encoding="utf-8") as f:
        lines = (json.loads(line) for line in f)
        return [d["text"] for d in lines if "text" in d][:n]


def main(what, path, *rest):
    with Llama(path) as m:
        if what == "perplexity":
            documents = [m.tokens(t)[: int(rest[2])] for t in texts(rest[0], int(rest[1]))]
            print("%.6f %d" % m.perplexity([d for d in documents if len(d) > 1]))
            return
        ids = [int(t) for t in rest[0].split(",")]
        if what == "generate":
            print(m.generate(ids, int(rest[1])))
        else:
            x = m.logits(ids)
            print([int(t) for t in x.argmax(1)], nll(x, ids) / (len(ids) - 1))


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
