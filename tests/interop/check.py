"""What the programs write, read by the programs and libraries that others read it with: make check-interop.

    check.py BUILD [SECTION...]     transformers, llama, numpy, vllm; without: all

A section whose libraries are not installed is skipped with a line that says which; the exit status is 1 if anything else
than what was asked for came out. Models are the examples and fixtures of this checkout, whole and cut.
"""

import contextlib
import glob
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SHARED = os.environ.get("MOE_SHARED", os.path.join(ROOT, "..", "shared"))
sys.path.insert(1, os.path.join(os.path.dirname(HERE), "reference"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MOE_DEVICE", "cpu")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
warnings.simplefilter("ignore")
failed = []


def say(good, what, more):
    print(f"{'ok' if good else 'NOT OK'}\t{what}\t{more}", flush=True)
    if not good:
        failed.append(what)


def program(*words):
    r = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if r.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: {r.stderr.strip()[-500:]}")
    return r.stdout


def name_of(path):
    return os.path.basename(path.rstrip("/"))


def observe(model, work, *options):
    """Statistics of five documents that any vocabulary can say and any model reads to the end: WORK/run.stats."""
    ids = os.path.join(work, "ids.jsonl")
    with open(ids, "w", encoding="utf-8") as f:
        f.writelines(json.dumps({"ids": [i * k % 61 for i in range(24)]}) + "\n" for k in (1, 7, 11, 13, 17))
    program("moe-observe", "-q", "-f", "--precision", "f32", *options, "-o", f"{work}/run.stats", model, ids)


def cut(model, work, out, ratio=0.25):
    """The model without a quarter of its experts, or the next count that its router's groups allow."""
    about = json.loads(program("moe-inspect", "--json", model))
    observe(model, work)
    for keep in range(-int(-about["experts"] * (1 - ratio) // 1), about["experts"] + 1):
        with contextlib.suppress(RuntimeError):
            program("moe-score", "-q", "-f", "-k", keep, "-o", f"{work}/plan.tsv", f"{work}/run.stats")
            break
    program("moe-prune", "-q", "-f", "--verify", model, f"{work}/plan.tsv", out)
    return out


def our_logits(model, work, ids):
    """[len(ids), vocabulary] f32"""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    save_file({"tokens": np.array(ids, np.int32), "seq_len": np.array([len(ids)], np.int32)}, f"{work}/ids.safetensors")
    program("tests/logits", model, f"{work}/ids.safetensors", f"{work}/logits.safetensors")
    return load_file(f"{work}/logits.safetensors")["logits"]


IDS = [i * 11 % 60 for i in range(24)]


# ---- transformers ----


def kind_of(path):
    with open(f"{path}/config.json", encoding="utf-8") as f:
        return json.load(f).get("quantization_config", {}).get("format")


def whole_blocks(path):
    """transformers reads neither blocks that end early nor one scale for a whole matrix, which has another name."""
    held = read_safetensors(f"{path}/model.safetensors", False)[1]
    scaled = [k for k in held if k.endswith("_scale_inv")]
    whole = all(n % 128 == 0 for k in scaled for n in held[k.removesuffix("_scale_inv")]["shape"])
    return bool(scaled) and whole


def own_reading(path):
    """How transformers itself reads this checkpoint, or None where it is no judge: it leaves out experts' scales, wants a
    GPU, or rounds activations as well."""
    import transformers as t

    with open(f"{path}/config.json", encoding="utf-8") as f:
        text = f.read()
    config = json.loads(text)
    q = config.get("quantization_config", {})
    method, kind = q.get("quant_method"), q.get("format")
    split_llama4 = config["model_type"].startswith("llama4") and "experts.0." in " ".join(read_safetensors(f"{path}/model.safetensors", False)[1])
    if config["model_type"] not in t.CONFIG_MAPPING or "text_config" in config or os.path.exists(f"{path}/hf_quant_config.json") or split_llama4:
        return None
    if not q:
        return {}
    if method == "mxfp4":
        return {"quantization_config": t.Mxfp4Config(dequantize=True)}
    if method == "fp8" and whole_blocks(path) and importlib.util.find_spec("accelerate"):
        return {"quantization_config": t.FineGrainedFP8Config(dequantize=True)}
    by_row = kind == "float-quantized" and '"channel"' in text
    if kind == "mxfp4-pack-quantized" or by_row or (kind == "pack-quantized" and '"symmetric": true' in text):
        return {"quantization_config": t.CompressedTensorsConfig(dequantize=True)}
    return None


def compare(path, work):
    import golden
    import numpy as np
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    ours = our_logits(path, work, IDS)
    model, report = golden.load(path)
    lost = [f"{k}: {v[0]}" for k, v in report.items() if k.endswith(("_keys", "_msgs")) and v]
    with torch.no_grad():
        theirs = model(input_ids=torch.tensor([IDS]), use_cache=False).logits[0].numpy()
    worst = float(np.abs(ours - theirs).max())
    say(worst < 1e-3 and not lost, f"transformers, decoded: {name_of(path)}", f"logits within {worst:.2g}; {len(report['tensors'])} tensors {' '.join(lost)}")
    how = own_reading(path)
    if how is None:
        return
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager", **how).float().eval()
    with torch.no_grad():
        theirs = model(input_ids=torch.tensor([IDS]), use_cache=False).logits[0].numpy()
    error = float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
    # what compressed-tensors decodes is rounded to BF16, which may send a token to another expert
    allowed = {"pack-quantized": 0.1, "float-quantized": 0.01}.get(kind_of(path), 1e-4)
    say(error < allowed, f"transformers: {name_of(path)}", f"relative error of the logits {error:.2g}")


def quantized(work):
    """Models in each format that moe-quant offers for them, and cut after that."""
    wide, plain = f"{work}/random-qwen3", f"{work}/tiny-gptoss-plain"
    shape = ("layers=2", "num_experts=8", "num_experts_per_tok=2", "vocab_size=64", "hidden_size=128", "moe_intermediate_size=128")
    program("tests/mkrandom", "gain=4", *shape, "num_attention_heads=4", "num_key_value_heads=2", "head_dim=32", f"{ROOT}/tests/shapes/qwen3-30b-a3b.json", wide)
    program("moe-quant", "-q", "-t", "bf16", f"{ROOT}/examples/tiny-gptoss", plain)
    formats = program("moe-quant", "--help").split("--to ", 1)[1].split(None, 1)[0].split("|")
    for model in (wide, plain, f"{ROOT}/examples/tiny-gptoss", f"{ROOT}/examples/tiny-qwen3"):
        for kind in formats:
            out = f"{work}/{name_of(model)}-{kind}"
            try:
                program("moe-quant", "-q", "-t", kind, model, out)
            except RuntimeError as e:
                print(f"skip\tmoe-quant -t {kind}: {name_of(model)}\t{str(e).rsplit('moe-quant: ', 1)[-1]}")
                continue
            yield out
            yield cut(out, work, f"{out}-cut")


def section_transformers(work):
    if not importlib.util.find_spec("accelerate"):
        print("skip\ttransformers: FP8, by itself\tnot installed: accelerate")
    models = glob.glob(f"{ROOT}/examples/tiny-*") + glob.glob(f"{ROOT}/tests/fixtures/*/") + glob.glob(f"{SHARED}/formats/*/config.json")
    for path in sorted(m.removesuffix("/config.json") for m in models):
        yield lambda path=path: compare(cut(path, work, f"{work}/{name_of(path)}-cut"), work)
    for path in quantized(work):
        yield lambda path=path: compare(path, work)


# ---- llama.cpp ----


def gguf_models():
    found = glob.glob(f"{ROOT}/tests/data/gguf/*.gguf") + glob.glob(f"{SHARED}/formats/gguf-*/*.gguf")
    return sorted(f for f in found if "-of-" not in f or "-00001-of-" in f)


# What llama.cpp refuses whole as well, and why
NO_JUDGE = {
    "ernie.gguf": "its converter says another width of shared experts than the tensors have",
    "gptoss-qkv.gguf": "it wants output.weight, which this file shares with the embeddings",
}
# It uses this one for the norms of latent vectors as well, which have 1e-6 in transformers, as all released models say.
EDITS = {"kimi-k2.gguf": ["deepseek2.attention.layer_norm_rms_epsilon=1e-6"]}


def joined(path, work):
    """A model of several files as one: gguf's reader takes no other."""
    observe(path, work)
    program("moe-score", "-q", "-f", "-k", json.loads(program("moe-inspect", "--json", path))["experts"], "-o", f"{work}/all.tsv", f"{work}/run.stats")
    program("moe-prune", "-q", "-f", path, f"{work}/all.tsv", f"{work}/joined.gguf")
    return f"{work}/joined.gguf"


def compare_gguf(path, work, whole):
    """llama.cpp loads the file and goes on from IDS. It rounds activations of all types but F32, so it is the decoded file
    that its logits are compared on."""
    import gguf
    import numpy as np
    from llama import Llama

    if "-of-" in path:
        path = joined(path, work)
    edits = EDITS.get(whole.split(",")[0], [])
    if edits or not any(k.endswith(("vocab_size", "tokenizer.ggml.tokens")) for k in gguf.GGUFReader(path).fields):
        program(sys.executable, f"{HERE}/retype.py", path, f"{work}/loadable.gguf", "same", *edits)
        path = f"{work}/loadable.gguf"
    ours = our_logits(path, work, IDS)
    with Llama(path) as m:
        text = m.generate(IDS, 8)
    program(sys.executable, f"{HERE}/retype.py", path, f"{work}/decoded.gguf", "f32")
    with Llama(f"{work}/decoded.gguf") as m:
        theirs = m.logits(IDS)
    worst = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    say(worst < 1e-4, f"llama.cpp: {whole}", f"logits within {worst:.2g} of the largest; goes on with {text}")


def section_llama(work):
    for path in gguf_models():
        folder = name_of(os.path.dirname(path))
        name = name_of(path) if folder == "gguf" else folder
        if name in NO_JUDGE:
            print(f"skip\tllama.cpp: {name}\t{NO_JUDGE[name]}")
            continue
        yield lambda path=path, name=name: compare_gguf(path, work, name)
        yield lambda path=path, name=name: compare_gguf(cut(path, work, f"{work}/cut.gguf"), work, f"{name}, cut")


# ---- numpy: matrices and reservoirs ----


def read_safetensors(path, data=True):
    """(metadata, tensors by name, or what is said of them), by what man pages say of the format, and numpy alone."""
    import numpy as np

    raw = np.fromfile(path, np.uint8)
    at = 8 + int(raw[:8].view("<u8")[0])
    head = json.loads(raw[8:at].tobytes())
    words = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "U64": "<u8", "BF16": "<u2"}

    def tensor(d):
        first, last = d["data_offsets"]
        x = np.frombuffer(raw[at + first : at + last].tobytes(), words[d["dtype"]]).reshape(d["shape"])
        return (x.astype("<u4") << 16).view("<f4") if d["dtype"] == "BF16" else x

    return head.pop("__metadata__", {}), {k: tensor(d) if data else d for k, d in head.items()}


def check_matrices(work, model):
    import numpy as np

    observe(model, work, "--matrices", f"{work}/run.matrices", "--reservoir", f"{work}/run.reservoir", "--reservoir-tokens", 99)
    about, m = read_safetensors(f"{work}/run.matrices")
    k = json.load(open(f"{model}/config.json", encoding="utf-8"))["num_experts_per_tok"]
    layers = sorted({n.rsplit(".", 1)[0] for n in m})
    pairs = [m[f"{n}.coactivation"].sum(0) for n in layers]
    good = all((p == p.T).all() and p.trace() == 120 * k for p in pairs)
    gram = [m[f"{n}.gram"].sum(0) for n in layers]
    good = good and all(np.linalg.eigvalsh(g).min() > -1e-6 * g.trace() for g in gram)
    say(good and about["format"] == "moe-matrices 1", f"numpy: matrices of {name_of(model)}", f"{len(m)} tensors of {len(layers)} layers: symmetric, complete, positive")
    return layers


def check_reservoir(work, model, layers):
    """Experts, gates and outputs computed again from the inputs and the model's weights."""
    import numpy as np

    about, r = read_safetensors(f"{work}/run.reservoir")
    _, w = read_safetensors(f"{model}/model.safetensors")
    worst, same = 0, True
    for n in layers:
        x, chosen, gates = (r[f"{n}.{k}"].astype(r[f"{n}.{k}"].dtype) for k in ("input", "experts", "gates"))
        logits = x @ w[f"model.{n}.mlp.gate.weight"].T
        top = np.sort(np.argsort(-logits, 1)[:, : chosen.shape[1]], 1)
        same = same and (top == chosen).all()
        g = np.exp(np.take_along_axis(logits, chosen, 1) - logits.max(1, keepdims=True))
        worst = max(worst, np.abs(g / g.sum(1, keepdims=True) - gates).max())
        out = np.zeros_like(x)
        for t, i in np.ndindex(*chosen.shape):
            gate, up, down = (w[f"model.{n}.mlp.experts.{chosen[t, i]}.{k}_proj.weight"] for k in ("gate", "up", "down"))
            h = gate @ x[t]
            out[t] += gates[t, i] * (down @ (h / (1 + np.exp(-h)) * (up @ x[t])))
        worst = max(worst, np.abs(out - r[f"{n}.output"]).max() / np.abs(out).max())
    say(same and worst < 1e-4 and about["format"] == "moe-reservoir 1", f"numpy: reservoir of {name_of(model)}", f"experts the same, gates and outputs within {worst:.2g}")


def section_numpy(work):
    model = f"{ROOT}/examples/tiny-qwen3"
    yield lambda: check_reservoir(work, model, check_matrices(work, model))


# ---- vLLM ----


def section_vllm(work):
    """Eight tokens, the likeliest each time, of a cut model in f32."""

    def run():
        from vllm import LLM, SamplingParams

        model = cut(f"{ROOT}/examples/tiny-qwen3", work, f"{work}/for-vllm")
        want = list(IDS)
        for _ in range(8):
            want.append(int(our_logits(model, work, want)[-1].argmax()))
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        llm = LLM(model, dtype="float32", enforce_eager=True, max_model_len=512, max_num_seqs=2)
        got = llm.generate({"prompt_token_ids": IDS}, SamplingParams(temperature=0, max_tokens=8, ignore_eos=True))
        got = list(got[0].outputs[0].token_ids)
        say(got == want[len(IDS) :], "vLLM: tiny-qwen3, cut", f"goes on with {got}")

    yield run


NEEDED = {
    "transformers": ("torch", "transformers", "safetensors", "compressed_tensors"),
    "llama": ("numpy", "safetensors", "gguf", "xllamacpp"),
    "numpy": ("numpy",),
    "vllm": ("vllm", "safetensors"),
}


def main(build, *sections):
    build = os.path.abspath(build)
    os.environ["PATH"] = f"{build}:{os.environ['PATH']}"
    global program
    plain = program
    program = lambda first, *rest: plain(f"{build}/{first}" if first.startswith("tests/") else first, *rest)
    for name in sections or NEEDED:
        missing = [m for m in NEEDED[name] if not importlib.util.find_spec(m)]
        if missing:
            print(f"skip\t{name}\tnot installed: {', '.join(missing)}")
            continue
        with tempfile.TemporaryDirectory() as work:
            for check in globals()[f"section_{name}"](work):
                try:
                    check()
                except Exception as e:
                    say(False, name, f"{type(e).__name__}: {e}")
                for left in glob.glob(f"{work}/*-cut"):
                    shutil.rmtree(left)
    print(f"check-interop: {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
