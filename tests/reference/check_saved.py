#!/usr/bin/env python3
"""What `ingot train` saves, loaded by transformers (and PEFT): the same loss, the same tokens. Not part of CI.

    python3 tests/reference/check_saved.py build/ingot

Trains each family for a few steps on stories, then compares `ingot eval` with the loss that transformers computes over
the same windows, `ingot tokenizer encode` with the saved tokenizer, and `ingot convert --dtype bfloat16` with the
weights it began from.
"""
import json
import math
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

T = 48
SHAPES = {
    "llama": ["--family", "llama", "--layers", "2", "--heads", "3", "--kv-heads", "1", "--dim", "48"],
    "llama-tied-bias": ["--family", "llama", "--layers", "2", "--heads", "4", "--dim", "48", "--tied", "--bias",
                        "--head-dim", "20"],
    "gpt2": ["--family", "gpt2", "--layers", "2", "--heads", "3", "--dim", "48", "--dropout", "0.1"],
    "gpt2-sinusoidal": ["--family", "gpt2", "--layers", "2", "--heads", "3", "--dim", "48", "--sinusoidal", "--no-tied"],
}
REFUSED = {"gpt2-post-norm": ["--family", "gpt2", "--layers", "2", "--heads", "3", "--dim", "48", "--post-norm"]}


def loss_of(model, stream):
    """Consecutive windows of T predictions, each token predicted once."""
    total, count = 0.0, 0
    with torch.no_grad():
        for first in range(0, len(stream) - 1, T):
            window = torch.from_numpy(stream[first:first + T + 1].astype(np.int64))
            logits = model(input_ids=window[None, :-1]).logits[0]
            total += torch.nn.functional.cross_entropy(logits.double(), window[1:], reduction="sum").item()
            count += len(window) - 1
    return total / count


def main():
    ingot = os.path.abspath(sys.argv[1])

    def run(*arguments):
        return subprocess.run([ingot, *arguments], check=True, capture_output=True, text=True).stdout

    os.chdir(tempfile.mkdtemp())
    run("data", "stories", "--seed", "3", "--bytes", "200000", "--output", "s.txt")
    run("tokenizer", "train", "--vocab-size", "400", "--output", "tok.json", "s.txt")
    run("data", "prepare", "--tokenizer", "tok.json", "--val-fraction", "0.1", "--rows", "stream", "--output", "data",
        "s.txt")
    stream = np.fromfile("data/val.bin", dtype=np.uint16)[512:]
    failed = 0

    def check(what, good, detail):
        nonlocal failed
        failed += not good
        print("ok    " if good else "FAILED", what, detail)

    def train(name, *arguments):
        run("train", *arguments, "--data", "data", "--steps", "30", "--batch-size", "4", "--context", str(T), "--lr",
            "1e-2", "--seed", "1", "--threads", "2", "--no-plot", "--output", name)
        return json.loads(run("eval", "--model", name, "--data", "data", "--split", "val", "--json"))["loss"]

    for name, shape in SHAPES.items():
        ours = train(name, *shape)
        model = AutoModelForCausalLM.from_pretrained(name + "/last", dtype=torch.float32).eval()
        theirs = loss_of(model, stream)
        check(name, math.isclose(ours, theirs, rel_tol=2e-6), f"loss {ours:.7f}, transformers {theirs:.7f}")
        tokenizer = AutoTokenizer.from_pretrained(name + "/last")
        with open("s.txt") as f:
            line = f.readline().rstrip("\n")
        with open("line.txt", "w") as f:
            f.write(line + "\n")
        ids = [int(i) for i in run("tokenizer", "encode", "--tokenizer", name + "/last/tokenizer.json", "line.txt").split()]
        check(name, tokenizer.encode(line, add_special_tokens=False) == ids, f"{type(tokenizer).__name__} encodes alike")
        check(name, model.generation_config.eos_token_id == 0, "generation_config.json")
        run("convert", "--from", name, "--to", name + "-bf16", "--dtype", "bfloat16")
        half = AutoModelForCausalLM.from_pretrained(name + "-bf16")
        same = all(torch.equal(p.bfloat16(), q) for p, q in zip(model.parameters(), half.parameters()))
        check(name, same and half.dtype == torch.bfloat16, "converted to bfloat16")
    for base in ("llama", "gpt2"):
        name = base + "-adapter"
        run("train", "--model", base, "--lora-rank", "4", "--data", "data", "--steps", "20", "--batch-size", "4",
            "--context", str(T), "--lr", "1e-2", "--seed", "2", "--threads", "2", "--no-plot", "--output", name)
        ours = json.loads(run("eval", "--model", name, "--data", "data", "--split", "val", "--json"))["loss"]
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base + "/last"), name + "/last").eval()
        theirs = loss_of(model, stream)
        check(name, math.isclose(ours, theirs, rel_tol=2e-6), f"loss {ours:.7f}, PEFT {theirs:.7f}")
        run("convert", "--from", name, "--to", name + "-merged")
        merged = loss_of(AutoModelForCausalLM.from_pretrained(name + "-merged").eval(), stream)
        check(name, math.isclose(ours, merged, rel_tol=2e-6), f"merged {merged:.7f}")
    for name, shape in REFUSED.items():
        train(name, *shape)
        try:
            AutoModelForCausalLM.from_pretrained(name + "/last")
            check(name, False, "transformers takes a model that it cannot compute")
        except (ValueError, KeyError) as error:
            check(name, "ingot_gpt2" in str(error), "transformers refuses it")
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
