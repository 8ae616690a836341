"""Speed of the reference observer (github.com/CerebrasResearch/reap) beside a plain forward pass in PyTorch.

    PYTHONPATH=DIR_WITH_reap observer_speed.py [--layers 4 --of 48 --docs 8 --tokens 2048 --device cuda ...]

Some layers of a Qwen3-MoE of random bf16 weights, experts in the eager loop that the observer hooks into; the speed
of all layers is that of these times layers/of. Embedding and vocabulary are left out of both. Prints JSON.
"""

import argparse
import json
import time

import torch
import torch.nn.functional as F
from torch import nn


class RMSNorm(nn.Module):
    def __init__(self, width, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)


class Attention(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.o = o
        self.q = nn.Linear(o.hidden, o.heads * o.head_dim, bias=False)
        self.k = nn.Linear(o.hidden, o.kv_heads * o.head_dim, bias=False)
        self.v = nn.Linear(o.hidden, o.kv_heads * o.head_dim, bias=False)
        self.out = nn.Linear(o.heads * o.head_dim, o.hidden, bias=False)
        self.q_norm = RMSNorm(o.head_dim)
        self.k_norm = RMSNorm(o.head_dim)

    def forward(self, x, cos, sin):
        b, t, _ = x.shape

        def heads(y):
            return y.view(b, t, -1, self.o.head_dim).transpose(1, 2)

        def rotate(y):
            a, c = y.chunk(2, -1)
            return y * cos + torch.cat((-c, a), -1) * sin

        q = rotate(self.q_norm(heads(self.q(x))))
        k = rotate(self.k_norm(heads(self.k(x))))
        y = F.scaled_dot_product_attention(q, k, heads(self.v(x)), is_causal=True, enable_gqa=True)
        return self.out(y.transpose(1, 2).reshape(b, t, -1))


class Expert(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.gate = nn.Linear(o.hidden, o.inter, bias=False)
        self.up = nn.Linear(o.hidden, o.inter, bias=False)
        self.down = nn.Linear(o.inter, o.hidden, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Qwen3MoeSparseMoeBlock(nn.Module):  # the class name that the observer looks for
    def __init__(self, o):
        super().__init__()
        self.num_experts, self.top_k = o.experts, o.topk
        self.gate = nn.Linear(o.hidden, o.experts, bias=False)
        self.experts = nn.ModuleList(Expert(o) for _ in range(o.experts))

    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        logits = self.gate(flat)
        weight, chosen = torch.topk(F.softmax(logits, dim=1, dtype=torch.float), self.top_k)
        weight = (weight / weight.sum(-1, keepdim=True)).to(x.dtype)
        out = torch.zeros_like(flat)
        of = F.one_hot(chosen, self.num_experts).permute(2, 1, 0)
        for j, expert in enumerate(self.experts):
            slot, token = torch.where(of[j])
            out.index_add_(0, token, expert(flat[token]) * weight[token, slot, None])
        return out.view_as(x), logits


class Layer(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.norm, self.attention = RMSNorm(o.hidden), Attention(o)
        self.post_norm, self.mlp = RMSNorm(o.hidden), Qwen3MoeSparseMoeBlock(o)

    def forward(self, x, cos, sin):
        x = x + self.attention(self.norm(x), cos, sin)
        return x + self.mlp(self.post_norm(x))[0]


def options():
    p = argparse.ArgumentParser()
    for name, default in dict(layers=4, of=48, docs=8, tokens=2048, repeat=2, hidden=2048, inter=768, experts=128,
                              topk=8, heads=32, kv_heads=4, head_dim=128).items():
        p.add_argument("--" + name.replace("_", "-"), type=int, default=default)
    p.add_argument("--device", default="cuda")
    return p.parse_args()


def build(o):
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(o.device):
        model = nn.ModuleList(Layer(o) for _ in range(o.layers)).eval()
        for name, p in model.named_parameters():
            if p.dim() > 1:
                small = ".out." in name or ".down." in name
                p.data.normal_(0, 0.0025 if small else 0.02)
        x = torch.randn(o.docs, o.tokens, o.hidden)
        position = torch.arange(o.tokens, dtype=torch.float32)
        inverse = 1e6 ** (-torch.arange(0, o.head_dim, 2, dtype=torch.float32) / o.head_dim)
        angle = torch.outer(position, inverse).repeat(1, 2)
    return model, x, angle.cos().bfloat16(), angle.sin().bfloat16()


@torch.no_grad()
def run(o, model, x, cos, sin):
    best = float("inf")
    for _ in range(o.repeat + 1):  # the first run warms up
        if o.device == "cuda":
            torch.cuda.synchronize()
        start, y = time.perf_counter(), x
        for layer in model:
            y = layer(y, cos, sin)
        if o.device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    if not torch.isfinite(y).all():
        raise SystemExit("the result is not finite")
    return best


def peak_flops(o):
    n = 8192 if o.device == "cuda" else 1024
    with torch.device(o.device):
        a, b = torch.randn(n, n), torch.randn(n, n)
    for i in range(13):
        if i == 3:
            if o.device == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
        a @ b
    if o.device == "cuda":
        torch.cuda.synchronize()
    return 2 * n**3 * 10 / (time.perf_counter() - start)


def main():
    o = options()
    data = build(o)
    tokens, share = o.docs * o.tokens, o.layers / o.of
    result = {"tokens": tokens, "layers": o.layers, "of": o.of, "torch": torch.__version__}
    result["product_flops_per_second"] = peak_flops(o)
    result["plain_tokens_per_second"] = tokens / run(o, *data) * share
    try:
        from reap.observer import MoETransformerObserver, Qwen3MoEObserverHookConfig
    except ImportError:
        print(json.dumps(result | {"observer": "not on PYTHONPATH"}))
        return
    config = Qwen3MoEObserverHookConfig(renormalize_router_weights=True, record_pruning_metrics_only=True)
    observer = MoETransformerObserver(data[0], config)
    o.repeat = 1
    result["observer_tokens_per_second"] = tokens / run(o, *data) * share
    counted = sum(int(s["expert_frequency"].sum()) for s in observer.state.values())
    if counted != 2 * tokens * o.topk * o.layers:  # the run that warms up, and the one that is timed
        raise SystemExit(f"the observer counted {counted} routed tokens")
    if o.device == "cuda":
        result["peak_device_bytes"] = torch.cuda.max_memory_allocated()
    print(json.dumps(result))


main()
