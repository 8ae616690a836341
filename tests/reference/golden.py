"""What transformers computes: logits, and what every chosen expert of every MoE layer contributes.

The reference is float32, eager attention, one sequence at a time. The experts' own outputs are recomputed from the
inputs that the model's expert module received and the gate weights it was given; that they add up to what the
module returned is checked.
"""

import copy
import os
import tempfile

import torch
import torch.nn.functional as F
import transformers.models.auto.modeling_auto as auto
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
from transformers.modeling_outputs import CausalLMOutput

from formats import write_json, write_tensors
from plain import plain


class WithHead(torch.nn.Module):
    """The text model of a wrapper that transformers has no causal class for."""

    def __init__(self, config, model=None):
        super().__init__()
        self.config, self.model = config, AutoModel.from_config(config, dtype=torch.float32) if model is None else model
        self.lm_head = torch.nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, input_ids, **kw):
        out = self.model(input_ids=input_ids, **kw)
        return CausalLMOutput(logits=self.lm_head(out.last_hidden_state), hidden_states=out.hidden_states)


def has_causal_class(model_type):
    return model_type in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def load_with_head(config, tensors):
    """(model, names missing and unexpected)"""
    cfg = AutoConfig.for_model(**config)
    cfg._attn_implementation = "eager"
    cfg._experts_implementation = "eager"
    model = WithHead(cfg)
    own = model.state_dict()
    # input-major on disk, output-major in the model
    tensors = {k: t.transpose(1, 2).contiguous() if k in own and t.dim() == 3 and t.shape != own[k].shape else t for k, t in tensors.items()}
    missing, unexpected = model.load_state_dict({k: t.float() for k, t in tensors.items()}, strict=False)
    return model, {"missing_keys": missing, "unexpected_keys": unexpected}


def load(directory):
    """(model, report): report has missing, unexpected and mismatched names, aside and the names in the file."""
    config, tensors, aside = plain(directory)
    with tempfile.TemporaryDirectory() as tmp:
        write_json(os.path.join(tmp, "config.json"), config)
        write_tensors(tmp, tensors)
        model, info = (load_with_head(config, tensors) if not has_causal_class(config["model_type"]) else None) or AutoModelForCausalLM.from_pretrained(
            tmp,
            dtype=torch.float32,
            attn_implementation="eager",
            experts_implementation="eager",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    report = {key: sorted(map(str, info.get(key, []))) for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")}
    report["aside"] = aside
    report["tensors"] = {k: tuple(v.shape) for k, v in tensors.items()}
    return model.float().eval(), report


def expert_output(experts, kind, j, x):
    """f_j(x), ungated."""
    gate_up, down = experts.gate_up_proj[j], experts.down_proj[j]
    if kind == "gpt_oss":
        h = x @ gate_up + experts.gate_up_proj_bias[j]
        gate, up = h[..., 0::2].clamp(max=7), h[..., 1::2].clamp(-7, 7)
        return (up + 1) * gate * torch.sigmoid(1.702 * gate) @ down + experts.down_proj_bias[j]
    if kind == "llama4_text":
        gate, up = (x @ gate_up).chunk(2, -1)
        return (F.silu(gate) * up) @ down
    gate, up = F.linear(x, gate_up).chunk(2, -1)
    if kind == "minimax_m3_vl_text":
        gate, up = gate.clamp(max=7), up.clamp(-7, 7)
        return F.linear((up + 1) * gate * torch.sigmoid(1.702 * gate), down)
    return F.linear(F.silu(gate) * up, down)


class MoeTap:
    """Records one layer's MoE block for one sequence."""

    def __init__(self, layer, block, config):
        self.layer, self.block, self.kind = layer, block, config.model_type
        # multiplies what the experts give together instead of each one's gate
        self.factor = config.routed_scaling_factor if self.kind == "minimax_m3_vl_text" else 1
        self.router = block.gate if hasattr(block, "gate") else block.router
        self.handles = [
            block.register_forward_pre_hook(lambda m, args, kw: self.enter(args, kw), with_kwargs=True),
            self.router.register_forward_hook(lambda m, args, out: self.route(out)),
            block.experts.register_forward_pre_hook(lambda m, args, kw: self.call(args, kw), with_kwargs=True),
            block.experts.register_forward_hook(lambda m, args, out: self.leave(out)),
        ]

    def close(self):
        for h in self.handles:
            h.remove()

    def enter(self, args, kw):
        x = args[0] if args else kw["hidden_states"]
        self.x = x.reshape(-1, x.shape[-1])

    def route(self, out):
        if self.kind == "llama4_text":
            scores, self.logits = out
            self.id = self.logits.topk(self.router.top_k, -1).indices
            self.gate = scores.gather(1, self.id)
        else:
            self.logits = out[0]

    def call(self, args, kw):
        if self.kind != "llama4_text":
            _, self.id, self.gate = list(args) + list(kw.values())

    def leave(self, out):
        tokens, k = self.id.shape
        f = torch.empty(tokens, k, self.x.shape[-1])
        c = torch.empty_like(f)
        for t in range(tokens):
            for s in range(k):
                j, g, x = int(self.id[t, s]), self.gate[t, s], self.x[t]
                f[t, s] = expert_output(self.block.experts, self.kind, j, x)
                c[t, s] = expert_output(self.block.experts, self.kind, j, g * x) if self.kind == "llama4_text" else g * f[t, s]
        out = out.reshape(-1, tokens, out.shape[-1]).sum(0) if self.kind == "llama4_text" else out
        moe_out = c.sum(1)
        torch.testing.assert_close(moe_out, out, rtol=1e-4, atol=1e-5)
        self.record = {
            "expert_id": self.id.int(),
            "gate": self.factor * self.gate.float(),
            "norm": f.norm(dim=-1),
            "contrib": self.factor * c.norm(dim=-1),
            "absmax": f.abs().amax(-1),
            "moe_out": self.factor * moe_out,
        }


def moe_taps(model):
    taps = []
    for i, layer in enumerate(model.model.layers):
        for block in layer.children():
            if hasattr(block, "experts"):
                taps.append(MoeTap(i, block, model.config))
    return taps


@torch.no_grad()
def run(model, tokens, seq_len, hidden=True, moe_out=True):
    """(golden tensors, margin): tokens [N] laid end to end, seq_len of each sequence, all from position 0."""
    taps, rope = moe_taps(model), copy.deepcopy(model.model.rotary_emb)
    parts, margin = [], float("inf")
    try:
        for ids in torch.tensor(tokens).split(list(seq_len)):
            # "dynamic" rope remembers the longest sequence it has seen
            model.model.rotary_emb = copy.deepcopy(rope)
            out = model(input_ids=ids[None], use_cache=False, output_hidden_states=True)
            part = {"logits": out.logits[0].float()}
            for tap in taps:
                part.update({f"layer.{tap.layer}.{k}": v for k, v in tap.record.items() if moe_out or k != "moe_out"})
                margin = min(margin, selection_margin(model.config, tap))
            if hidden:
                part.update({f"hidden.{i}": h[0].float() for i, h in enumerate(out.hidden_states[:-1])})
            parts.append(part)
    finally:
        for tap in taps:
            tap.close()
    golden = {k: torch.cat([p[k] for p in parts]).contiguous() for k in parts[0]}
    golden["tokens"] = torch.tensor(tokens, dtype=torch.int32)
    golden["seq_len"] = torch.tensor(list(seq_len), dtype=torch.int32)
    return golden, margin


# ---- how clear the choices are ----

SOFTMAX = {"qwen3_moe", "qwen3_vl_moe_text", "qwen2_moe", "olmoe", "mixtral", "deepseek_v2", "ernie4_5_moe"}
SIGMOID = {"glm4_moe", "glm4_moe_lite", "deepseek_v3", "deepseek_v32", "glm_moe_dsa", "hy_v3", "dots1", "solar_open", "minimax_m2", "minimax_m3_vl_text"}


def gap(scores, k):
    """Smallest distance between the k-th and the next score; infinite if all are chosen."""
    if k >= scores.shape[-1]:
        return float("inf")
    top = scores.topk(k + 1, -1).values
    return float((top[:, k - 1] - top[:, k]).min())


def selection_margin(config, tap):
    """By how much the chosen experts (and groups) win; also checks that the model chose as described here."""
    kind, z = tap.kind, tap.logits.float()
    score = z.softmax(-1) if kind in SOFTMAX else z.sigmoid() if kind in SIGMOID else z
    for owner in (tap.router, tap.block, getattr(tap.router, "moe_statics", None)):
        score = score + getattr(owner, "e_score_correction_bias", torch.zeros(1)).flatten()
    groups = getattr(config, "n_group", None) or 1
    if kind == "deepseek_v2" and config.topk_method == "greedy":
        groups = 1
    margin = float("inf")
    if groups > 1:
        by_group = score.view(len(score), groups, -1)
        strength = by_group.amax(-1) if kind == "deepseek_v2" else by_group.topk(2, -1).values.sum(-1)
        margin = gap(strength, config.topk_group)
        best = torch.zeros_like(strength).scatter(1, strength.topk(config.topk_group, -1).indices, 1).bool()
        score = by_group.masked_fill(~best[..., None], 0 if kind == "deepseek_v2" else -torch.inf).flatten(1)
    k = tap.id.shape[1]
    as_described = torch.equal(score.topk(k, -1).indices.sort(-1).values, tap.id.long().sort(-1).values)
    assert as_described or margin < 1e-6, f"{kind} chose other experts: what does its router rank? See SOFTMAX and SIGMOID"
    return min(margin, gap(score, k))
