"""recorded.py MODEL IDS STATS MATRICES    are the later sums of an observation what transformers' activations give?

IDS: the documents, JSON lines with "ids", that moe-observe --precision f32 --matrices MATRICES -o STATS ran MODEL over.
Prints the largest relative difference of each sum, and how many tokens stand in another bin; status 1 if one is large.
"""

import json
import sys

import golden
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

BINS = 64


def inner(experts, kind, j, x):
    """What the down projection of expert j reads."""
    gate_up = experts.gate_up_proj[j]
    if kind == "gpt_oss":
        h = x @ gate_up + experts.gate_up_proj_bias[j]
        gate, up = h[..., 0::2].clamp(max=7), h[..., 1::2].clamp(-7, 7)
        return (up + 1) * gate * torch.sigmoid(1.702 * gate)
    gate, up = (x @ gate_up if kind == "llama4_text" else F.linear(x, gate_up)).chunk(2, -1)
    return F.silu(gate) * up


class Layer:
    """The sums of one layer, in float64."""

    def __init__(self, decoder, tap):
        block, self.tap, self.sum = tap.block, tap, {}
        self.experts = block.experts
        decoder.post_attention_layernorm.register_forward_pre_hook(lambda m, args: self.before(args[0]))
        tap.handles.append(block.experts.register_forward_hook(lambda m, args, out: self.after()))
        for name in ("shared_experts", "shared_expert"):
            if getattr(block, name, None) is not None:
                getattr(block, name).down_proj.register_forward_pre_hook(lambda m, args: self.shared(args[0]))

    def add(self, name, at, value):
        if name not in self.sum:
            self.sum[name] = torch.zeros(self.experts.gate_up_proj.shape[0], *value.shape, dtype=torch.float64)
        self.sum[name][at] += value

    def before(self, h):
        self.h = h.reshape(-1, h.shape[-1]).double()

    def shared(self, x):
        squares = x.reshape(-1, x.shape[-1]).double().square().sum(0)
        self.sum["shared_inner_square_sum"] = self.sum.get("shared_inner_square_sum", 0) + squares

    def after(self):
        r, kind = self.tap.record, self.tap.kind
        d = r["moe_out"].double()
        turn = (1 - F.cosine_similarity(self.h, self.h + d, dim=-1)).clamp(min=0)
        for t in range(len(d)):
            for j, g, a in zip(r["expert_id"][t].tolist(), r["gate"][t].tolist(), r["contrib"][t].double()):
                x = self.tap.x[t]
                h = inner(self.experts, kind, j, g * x if kind == "llama4_text" else x).double()
                self.add("tgf", j, turn[t] * a)
                self.add("inner_gated_square_sum", j, (h if kind == "llama4_text" else g * h).square())
                step = torch.floor(2 * torch.log2(a)) + BINS // 2
                self.add("gated_norm_counts", j, F.one_hot(step.clamp(0, BINS - 1).long(), BINS).double())


def columns(path, name):
    """{layer: [experts]} of a column, all categories and halves together."""
    out, at = {}, None
    for row in (line.rstrip("\n").split("\t") for line in open(path)):
        if row[0] == "#columns":
            at = [c.split(":")[0] for c in row[1:]].index(name)
        if not row[0].startswith("#"):
            cells = out.setdefault(int(row[0]), {})
            cells[int(row[3])] = cells.get(int(row[3]), 0) + float(row[at])
    return {k: torch.tensor([v[j] for j in sorted(v)], dtype=torch.float64) for k, v in out.items()}


@torch.no_grad()
def main(directory, ids, stats, matrices):
    model, _ = golden.load(directory)
    layers = [Layer(model.model.layers[tap.layer], tap) for tap in golden.moe_taps(model)]
    for line in open(ids):
        model(input_ids=torch.tensor([json.loads(line)["ids"]]), use_cache=False)
    tensors, tgf, worst = load_file(matrices), columns(stats, "tgf"), {}
    for layer in layers:
        n = layer.tap.layer
        for name, want in layer.sum.items():
            got = tgf[n] if name == "tgf" else tensors[f"layers.{n}.{name}"]
            if name == "gated_norm_counts":
                off = float((got.sum(0) - want).abs().sum() / 2)
            else:
                off = float((got - want).abs().max() / want.abs().max())
            worst[name] = max(worst.get(name, 0), off)
    for name, off in worst.items():
        print(f"{name:28} {off:.3g}")
    return any(off > (2 if name == "gated_norm_counts" else 1e-4) for name, off in worst.items())


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
