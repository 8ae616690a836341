"""load.py [options] DIR    does transformers take this checkpoint, and what does it compute?

  --ids FILE|LIST    token ids: comma-separated, or a safetensors file with "tokens" [N] and "seq_len"
                     (default: those of --compare, else of DIR/golden.safetensors)
  --save FILE        write tokens, seq_len and logits [N, vocabulary]
  --compare FILE     a safetensors file with logits [N, vocabulary] (and tokens, seq_len) to compare with
  --tolerance X      largest difference accepted by --compare (default 1e-3)

Exit status 1 if a tensor is missing, unexpected or of the wrong shape, if experts are not numbered from 0 without a
gap, or if the logits differ. Multi-token-prediction layers and what a multimodal wrapper holds beside the text
model are not looked at; quantized weights are decoded first.
"""

import argparse
import os
import sys
import tempfile

import golden
import torch
from formats import read_tensors
from safetensors.torch import load_file, save_file

PROBLEMS = {
    "missing_keys": "missing",
    "unexpected_keys": "unexpected",
    "mismatched_keys": "wrong shape",
    "error_msgs": "error",
}


def round_trip(model, report):
    """Names and shapes that transformers would write, against those it read: a gap in the numbering of experts, which
    transformers closes silently, shows here."""
    with tempfile.TemporaryDirectory() as tmp:
        model.save_pretrained(tmp)
        written = {k: tuple(v.shape) for k, v in read_tensors(tmp).items()}
    read = dict(report["tensors"])
    if model.config.tie_word_embeddings:
        read.pop("lm_head.weight", None)
        written.pop("lm_head.weight", None)
    lines = [f"missing: {k}" for k in sorted(written.keys() - read.keys())]
    lines += [f"unexpected: {k}" for k in sorted(read.keys() - written.keys())]
    return lines + [f"wrong shape: {k}: {list(read[k])}, not {list(written[k])}" for k in sorted(read.keys() & written.keys()) if read[k] != written[k]]


def token_ids(args):
    """(tokens, seq_len) or None."""
    if args.ids and not os.path.exists(args.ids):
        ids = [int(x) for x in args.ids.split(",")]
        return ids, [len(ids)]
    for path in (args.ids, args.compare, os.path.join(args.dir, "golden.safetensors")):
        if path and os.path.exists(path):
            t = load_file(path)
            if "tokens" in t:
                return t["tokens"].tolist(), t["seq_len"].tolist() if "seq_len" in t else [len(t["tokens"])]
    return None


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("dir")
    p.add_argument("--ids")
    p.add_argument("--save")
    p.add_argument("--compare")
    p.add_argument("--tolerance", type=float, default=1e-3)
    args = p.parse_args()

    try:
        model, report = golden.load(args.dir)
    except (OSError, RuntimeError, KeyError, ValueError) as e:
        print(f"{args.dir}: cannot be loaded: {e}")
        return 1
    lines = [f"{word}: {x}" for key, word in PROBLEMS.items() for x in report[key]]
    lines = lines or round_trip(model, report)
    print(f"{args.dir}: {len(report['tensors'])} tensors, {len(report['aside'])} set aside, {len(lines)} problems")
    print("\n".join(lines), end="\n" if lines else "")
    if lines:
        return 1
    ids = token_ids(args)
    if not ids:
        return 0
    result, margin = golden.run(model, *ids, hidden=False, moe_out=False)
    logits = result["logits"]
    print(f"{len(ids[0])} tokens, {logits.shape[1]} logits each, norm {logits.norm():.6g}, expert choices clear by {margin:.2g}")
    if args.save:
        save_file({k: result[k] for k in ("logits", "seq_len", "tokens")}, args.save)
    if args.compare:
        other = load_file(args.compare)["logits"].float()
        if other.shape != logits.shape:
            print(f"shapes differ: {list(other.shape)} and {list(logits.shape)}")
            return 1
        worst = float((other - logits).abs().max())
        same = float((other.argmax(-1) == logits.argmax(-1)).float().mean())
        print(f"largest difference {worst:.3g}, same first choice for {100 * same:.4g} % of the tokens")
        return 0 if worst <= args.tolerance else 1
    return 0


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with torch.no_grad():
        sys.exit(main())
