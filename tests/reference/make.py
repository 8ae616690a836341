"""make.py FAMILY VARIANT DIR    a tiny random checkpoint and its golden.safetensors
make.py --all DIR               those of tests/fixtures, as DIR/FAMILY-VARIANT
make.py --list                  what there is

With --hidden the golden has every layer's input (hidden.L) too.
"""

import json
import os
import sys
import tempfile

import golden
import packed
from families import FAMILIES, variant
from formats import write_json, write_tensors
from safetensors.torch import save_file
from weights import LAYOUTS, QUANTIZATION, SEQUENCES, random_tensors, skeleton, uniform

MARGIN = 2e-4  # by which every choice of experts must be clear
ATTEMPTS = 200


def spelled(config, cfg, v):
    """config.json of the variant, before quantization and wrapper."""
    if v.get("style") != "v5":
        return {**config, "torch_dtype": "bfloat16", "transformers_version": "4.57.1"}
    with tempfile.TemporaryDirectory() as tmp:
        cfg.architectures = config["architectures"]
        cfg.save_pretrained(tmp)
        with open(os.path.join(tmp, "config.json"), encoding="utf-8") as f:
            return {**json.load(f), "dtype": "bfloat16"}


def wrapped(config, tensors, inside):
    """The multimodal wrapper: nested configuration, prefixed names, something beside the text model."""
    text = {k: x for k, x in config.items() if k not in ("architectures", "transformers_version")}
    outer = {
        "architectures": [config["architectures"][0].replace("ForCausalLM", "ForConditionalGeneration")],
        "model_type": config["model_type"].removesuffix("_text"),
        "text_config": text,
        "vision_config": {"model_type": "llama4_vision_model", "hidden_size": 8},
        "boi_token_index": 60,
        "eoi_token_index": 61,
        "image_token_index": 62,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": config["transformers_version"],
    }
    if inside:
        out = {k.replace("model.", "model.language_model.", 1): t for k, t in tensors.items()}
    else:
        out = {"language_model." + k: t for k, t in tensors.items()}
    beside = {"vision_model.class_embedding": (8,), "multi_modal_projector.linear_1.weight": (config["hidden_size"], 8)}
    return outer, out | {k: uniform(k, s).bfloat16() for k, s in beside.items()}


def make(family, name, out, hidden=False):
    """Returns (seed, margin) of the attempt that was kept."""
    config, v = variant(family, name)
    shapes, cfg = skeleton(config)
    layout = v.get("layout")
    for attempt in range(ATTEMPTS):
        seed = f"{family}-{name}-{attempt}"
        tensors = LAYOUTS[layout](random_tensors(config, shapes, v, seed))
        written = spelled(config, cfg, v)
        if layout in QUANTIZATION:
            written["quantization_config"] = QUANTIZATION[layout]
        if v.get("wrapper"):
            written, tensors = wrapped(written, tensors, v["wrapper"] == "inside")
        os.makedirs(out, exist_ok=True)
        write_json(os.path.join(out, "config.json"), written)
        if layout in packed.BESIDE:
            write_json(os.path.join(out, packed.BESIDE[layout][0]), packed.BESIDE[layout][1])
        write_tensors(out, tensors, v.get("shards", 1))
        model, report = golden.load(out)
        bad = [x for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs") for x in report[key]]
        if bad:
            raise SystemExit(f"{out}: transformers does not take it: {bad[:5]}")
        tokens = uniform(seed + ":tokens", (sum(SEQUENCES),), 0, config["vocab_size"]).int().tolist()
        tensors, margin = golden.run(model, tokens, SEQUENCES, hidden, moe_out=False)
        if margin > MARGIN:
            save_file({k: tensors[k] for k in sorted(tensors)}, os.path.join(out, "golden.safetensors"))
            return seed, margin
    raise SystemExit(f"{out}: no clear choices in {ATTEMPTS} attempts")


def main(args):
    hidden = "--hidden" in args
    args = [a for a in args if a != "--hidden"]
    pairs = [(f, v, d) for f, x in FAMILIES.items() for v, d in x["variants"].items()]
    if args == ["--list"]:
        for f, v, d in pairs:
            print(f"{f}\t{v}\t{'tests/fixtures' if d.get('kept') else '-'}")
    elif len(args) == 2 and args[0] == "--all":
        for f, v, d in pairs:
            if d.get("kept"):
                seed, margin = make(f, v, os.path.join(args[1], f"{f}-{v}"), hidden)
                print(f"{f}-{v}\tseed {seed}\tmargin {margin:.2g}", flush=True)
    elif len(args) == 3 and args[1] in FAMILIES.get(args[0], {"variants": {}})["variants"]:
        seed, margin = make(*args, hidden)
        print(f"{args[2]}\tseed {seed}\tmargin {margin:.2g}")
    else:
        sys.exit(__doc__.strip())


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main(sys.argv[1:])
