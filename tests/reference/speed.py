"""Speed of PyTorch's plain forward on the processors that the process may use, to stand beside moe-bench speed.

    taskset -c 0,1 python3 tests/reference/speed.py [--layers N] [--docs N] [--tokens N] CONFIG.json

Random bf16 weights of CONFIG's shape (a model with grouped-query attention and routed experts only), no head.
Prints tokens/s for each way in which transformers can run the experts, and what one large product reaches.
"""
import argparse
import os
import time

import torch
from transformers import AutoConfig, AutoModel
from transformers.initialization import no_init_weights


def best(run, repeat):
    run()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def flops_per_token(c, tokens):
    heads = c.num_attention_heads
    dim = getattr(c, "head_dim", None) or c.hidden_size // heads
    project = 2 * c.hidden_size * dim * (2 * heads + 2 * c.num_key_value_heads)
    attend = 4 * heads * dim * (tokens + 1) / 2
    experts = 6 * c.num_experts_per_tok * c.hidden_size * c.moe_intermediate_size
    return c.num_hidden_layers * (project + attend + experts + 2 * c.hidden_size * c.num_experts)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("config")
    p.add_argument("--layers", type=int)
    p.add_argument("--docs", type=int, default=2)
    p.add_argument("--tokens", type=int, default=2048)
    p.add_argument("--repeat", type=int, default=2)
    p.add_argument("--experts", nargs="+", default=["eager", "grouped_mm"])
    o = p.parse_args()

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    c = AutoConfig.from_pretrained(o.config)
    c.num_hidden_layers = o.layers or c.num_hidden_layers
    c.vocab_size = min(c.vocab_size, 8192)
    ids = torch.randint(c.vocab_size, (o.docs, o.tokens))
    per_token = flops_per_token(c, o.tokens)
    torch.set_default_dtype(torch.bfloat16)
    with no_init_weights():
        model = AutoModel.from_config(c).eval()
    noise = torch.randn(1 << 20) / 50
    with torch.inference_mode():
        for w in model.parameters():
            flat = w.view(-1)
            for part in flat.split(noise.numel()):
                part.copy_(noise[: part.numel()])
        for way in o.experts:
            model.set_experts_implementation(way)
            rate = ids.numel() / best(lambda: model(ids, use_cache=False), o.repeat)
            print(f"{way:11} {rate:8.0f} tokens/s {rate * per_token * 1e-9:7.0f} GFLOP/s", flush=True)
        x, w = torch.randn(2048, 2048), torch.randn(2048, 2048)
        seconds = best(lambda: torch.nn.functional.linear(x, w), 5)
        print(f"one product of 2048^3 {2 * 2048**3 / seconds * 1e-9:.0f} GFLOP/s, torch {torch.__version__}")


main()
