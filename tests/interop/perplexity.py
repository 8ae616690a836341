"""Perplexity of the same text by moe-bench and by llama.cpp, of a GGUF file in several types of ggml.

    perplexity.py BUILD FILE.gguf DATA N LENGTH TYPE[/EXPERTS]...

FILE is written again in each type (retype.py; EXPERTS: another for the routed experts), the first N texts of DATA, LENGTH tokens
of each, are put to both. The last column is llama.cpp on the decoded file, where the two differ by more than 0.1%: what is left
of the difference there is ours, the rest is what llama.cpp's products round besides (activations to BF16 or 8 bits).
"""

import json
import os
import subprocess
import sys
import tempfile

from llama import Llama, texts


def ours(build, path, data):
    command = [os.path.join(build, "moe-bench"), "perplexity", "-q", "--json", "--device", "cpu", "--precision", "f32", path, data]
    total = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["total"]
    return total["ppl"], total["tokens"]


def theirs(path, documents):
    with Llama(path, threads=int(os.environ.get("THREADS", "2"))) as m:
        return m.perplexity([d for d in documents if len(d) > 1])


def retype(source, target, *types):
    script = os.path.join(os.path.dirname(__file__), "retype.py")
    return subprocess.run([sys.executable, script, source, target, *types], check=True, capture_output=True, text=True).stdout.strip()


def main(build, source, data, n, length, *types):
    with Llama(source) as m:
        documents = [m.tokens(t)[: int(length)] for t in texts(data, int(n))]
    with tempfile.TemporaryDirectory() as tmp:
        ids, path, decoded = (os.path.join(tmp, x) for x in ("ids.jsonl", "typed.gguf", "decoded.gguf"))
        with open(ids, "w", encoding="utf-8") as f:
            f.writelines(json.dumps({"ids": d}) + "\n" for d in documents)
        print("| type | tensors in the file | moe-bench | llama.cpp | difference | llama.cpp, decoded file | difference |\n|---|---|---|---|---|---|---|", flush=True)
        for kind in types:
            held = retype(source, path, *kind.split("/"))
            (a, count), (b, count_b) = ours(build, path, ids), theirs(path, documents)
            assert count == count_b, f"{count} tokens, and llama.cpp {count_b}"
            row = [kind, held, f"{a:.4f}", f"{b:.4f}", f"{100 * (a / b - 1):+.3f}%", "", ""]
            if abs(a / b - 1) > 1e-3:
                retype(path, decoded, "f32")
                plain = theirs(decoded, documents)[0]
                row[5:] = f"{plain:.4f}", f"{100 * (a / plain - 1):+.4f}%"
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 7:
        sys.exit(__doc__)
    main(*sys.argv[1:])
