"""check_golden.py DIR...: computes the golden of each directory again and compares it with golden.safetensors."""

import sys

import torch
from safetensors.torch import load_file

import golden


def compare(directory):
    """Largest relative difference over all tensors, experts aligned by number."""
    want = load_file(f"{directory}/golden.safetensors")
    model, _ = golden.load(directory)
    have, margin = golden.run(model, want["tokens"].tolist(), want["seq_len"].tolist())
    worst, where = 0.0, "-"
    for name, w in want.items():
        h = have[name]
        if name.startswith("layer.") and not name.endswith("moe_out"):
            base = name.rsplit(".", 1)[0]
            w = w.gather(1, want[base + ".expert_id"].argsort(-1))
            h = h.gather(1, have[base + ".expert_id"].argsort(-1))
        if w.dtype == torch.int32:
            if not torch.equal(w, h):
                return float("inf"), name, margin
            continue
        d = float((w - h).abs().max() / w.abs().max().clamp_min(1e-30))
        if d > worst:
            worst, where = d, name
    return worst, where, margin


def main():
    bad = 0
    for directory in sys.argv[1:]:
        worst, where, margin = compare(directory)
        bad |= not worst < 1e-4
        print(f"{directory}\tlargest difference {worst:.2g} of the tensor's largest value ({where})\tmargin {margin:.2g}")
    return bad


if __name__ == "__main__":
    sys.exit(main())
