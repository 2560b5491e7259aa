#!/usr/bin/env python3
"""Ingot's training beside PyTorch's, on the same machine in the same minutes.

    tools/peers/train.py --build build [--text book.txt] [--steps 300] [--seeds 3] [--rounds 5] [--only loss|time]
                         [--shapes gpt2-t64,tiny,gpt2-t512] [--dtypes float32,bfloat16]

Loss: the tiny-1m Llama, learnt from the same token files in the same number of steps under the same schedule, each seed
once by `ingot train` and once by transformers' LlamaForCausalLM; then the loss of the whole val split, each token
predicted once, and Ingot's checkpoint loaded by transformers: its loss must be the one that `ingot eval` gives.
Without --text: the King James text (`bible -f`, Debian's bible-kjv).

Time: whole training steps (forward, backward, clip, AdamW) in float32 and bfloat16, `ingot bench train` and PyTorch in
turns, so that both meet the same neighbours on the machine; the median of all steps of all rounds. PyTorch's bfloat16 is
autocast over float32 weights, which is what Ingot's is. What is not installed is said and left out. Needs torch and
transformers; --compile adds torch.compile, whose first step takes minutes. --shapes gpt2-t64 --dtypes bfloat16 is a part
that is done sooner.
"""
import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import torch
import transformers

TINY = dict(vocab_size=1776, hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-5, rope_theta=10000.0,
            tie_word_embeddings=True, attention_bias=False)
PEAK, WARMUP, LAST, BATCH, CONTEXT = 2e-3, 30, 0.1, 8, 128


def tiny_llama(vocab_size=TINY["vocab_size"]):
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**TINY, "vocab_size": vocab_size}))


def gpt2_124m():
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(resid_pdrop=0, embd_pdrop=0, attn_pdrop=0))


def adamw(model):
    """Ingot's defaults: 0.9 / 0.95, decay 0.1 of matrices only."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
                             lr=1e-3, betas=(0.9, 0.95), eps=1e-8, fused=True)


def loss_of(model, x, y, reduction="mean"):
    logits = model(input_ids=x, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction=reduction)


def step(model, optimizer, x, y, narrow=False):
    with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
        loss = loss_of(model, x, y)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss


# ---- loss ----

def tokens_of(path):
    """llm.c's token file: a header of 256 int32, then uint16."""
    header = numpy.fromfile(path, dtype="<i4", count=3)
    assert header[0] == 20240520, f"{path}: not a file of 16-bit tokens"
    return torch.from_numpy(numpy.fromfile(path, dtype="<u2", offset=1024).astype(numpy.int64))


def windows(tokens, shift=0):
    count = (len(tokens) - shift - 1) // CONTEXT
    used = tokens[shift:shift + count * CONTEXT + 1]
    return used[:-1].view(count, CONTEXT), used[1:].view(count, CONTEXT)


@torch.no_grad()
def evaluate(model, tokens):
    """The mean over all predictions; the last window may be shorter."""
    x, y = windows(tokens)
    total, count = 0.0, 0
    for i in range(0, len(x), 32):
        total += loss_of(model, x[i:i + 32], y[i:i + 32], "sum").item()
        count += y[i:i + 32].numel()
    rest = tokens[count:]
    if len(rest) > 1:
        total += loss_of(model, rest[None, :-1], rest[None, 1:], "sum").item()
        count += len(rest) - 1
    return total / count


def rate(i, steps):
    if i < WARMUP:
        return PEAK * (i + 1) / WARMUP
    share = (i - WARMUP) / max(1, steps - WARMUP)
    return PEAK * (LAST + (1 - LAST) * 0.5 * (1 + math.cos(math.pi * share)))


def train_theirs(train, vocab_size, steps, seed):
    torch.manual_seed(seed)
    model = tiny_llama(vocab_size)
    optimizer, order, shift = adamw(model), [], 0
    for i in range(steps):
        if len(order) < BATCH:
            shift = int(torch.randint(CONTEXT, ()))
            x, y = windows(train, shift)
            order = torch.randperm(len(x)).tolist()
        rows = [order.pop() for _ in range(BATCH)]
        for group in optimizer.param_groups:
            group["lr"] = rate(i, steps)
        step(model, optimizer, x[rows], y[rows])
    return model


def run(ingot, *arguments):
    done = subprocess.run([str(ingot), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def train_ours(ingot, data, out, steps, seed, threads):
    run(ingot, "train", "--preset", "tiny-1m", "--data", data, "--output", out, "--steps", steps, "--batch-size", BATCH,
        "--context", CONTEXT, "--lr", PEAK, "--warmup", WARMUP, "--seed", seed, "--threads", threads, "--save-every", 0,
        "--no-plot", "--log-every", steps, "--quiet")
    return json.loads(run(ingot, "eval", "--model", out, "--data", data, "--json", "--quiet"))["loss"]


def compare_losses(ingot, text, options, folder):
    run(ingot, "tokenizer", "train", "--vocab-size", TINY["vocab_size"], "--output", folder / "tok.json", text, "--quiet")
    run(ingot, "data", "prepare", "--tokenizer", folder / "tok.json", "--output", folder / "data", text, "--quiet")
    train = torch.cat([tokens_of(p) for p in sorted((folder / "data").glob("train*.bin"))])
    val = torch.cat([tokens_of(p) for p in sorted((folder / "data").glob("val*.bin"))])
    vocab_size = json.loads(run(ingot, "tokenizer", "info", folder / "tok.json", "--json"))["vocab_size"]
    print(f"tiny-1m on {text.name}: {len(train)} train and {len(val)} val tokens, {options.steps} steps of {BATCH} x "
          f"{CONTEXT}; nats a token on val\nseed | PyTorch | Ingot | ratio | Ingot's checkpoint in transformers")
    theirs, ours = [], []
    for seed in range(1, options.seeds + 1):
        theirs.append(evaluate(train_theirs(train, vocab_size, options.steps, seed), val))
        out = folder / f"run{seed}"
        ours.append(train_ours(ingot, folder / "data", out, options.steps, seed, options.threads))
        loaded = evaluate(transformers.AutoModelForCausalLM.from_pretrained(out / "last", dtype=torch.float32), val)
        same = abs(loaded - ours[-1]) < 1e-4 * ours[-1]
        print(f"{seed:4d} | {theirs[-1]:.4f} | {ours[-1]:.4f} | {ours[-1] / theirs[-1]:.4f} | {loaded:.4f}"
              f"{'' if same else '  DIFFERENT'}", flush=True)
    ratio = statistics.mean(ours) / statistics.mean(theirs)
    print(f"mean | {statistics.mean(theirs):.4f} | {statistics.mean(ours):.4f} | {ratio:.4f} | "
          f"{'within 1 %' if abs(ratio - 1) <= 0.01 else 'MORE THAN 1 % APART'}", flush=True)
    return abs(ratio - 1) <= 0.01


# ---- time ----

class Theirs:
    def __init__(self, model, batch, context, dtype, compiled):
        self.model = model
        self.narrow = dtype == "bfloat16"
        self.optimizer = adamw(model)
        ids = torch.randint(model.config.vocab_size, (batch, context + 1))
        self.x, self.y = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
        self.forward = torch.compile(model) if compiled else model

    def round(self, repetitions):
        times = []
        for i in range(repetitions + 2):
            began = time.perf_counter()
            step(self.forward, self.optimizer, self.x, self.y, self.narrow).item()
            if i >= 2:
                times.append(1e3 * (time.perf_counter() - began))
        return times


def ours_round(ingot, preset, batch, context, dtype, repetitions, threads):
    found = json.loads(run(ingot, "bench", "train", "--preset", preset, "--batch-size", batch, "--context", context,
                           "--dtype", dtype, "--repetitions", repetitions, "--threads", threads, "-o", "json"))
    return found["samples_ms"]


def peers_of(build, batch, context, dtype, options):
    peers = {} if options.no_eager else {"PyTorch eager": Theirs(build(), batch, context, dtype, False)}
    if options.compile:
        try:
            peers["torch.compile"] = Theirs(build(), batch, context, dtype, True)
            peers["torch.compile"].round(1)
        except Exception as e:  # no compiler, or a version that cannot: said, not hidden
            peers.pop("torch.compile", None)
            print(f"LEFT OUT: torch.compile: {str(e).splitlines()[0][:200]}", flush=True)
    else:
        print("LEFT OUT: torch.compile (--compile adds it)", flush=True)
    return peers


SHAPES = {"gpt2-t64": ("gpt2-124m", gpt2_124m, 4, 64, 5), "tiny": ("tiny-1m", tiny_llama, 8, 128, 30),
          "gpt2-t512": ("gpt2-124m", gpt2_124m, 4, 512, 2)}


def compare_shape(ingot, options, shape, dtype):
    """Whether Ingot's step is no slower than the fastest peer's. A table, and a row for documents."""
    preset, build, batch, context, repetitions = SHAPES[shape]
    print(f"\n{preset}, B{batch} T{context}, {dtype}, {options.threads} threads: ms a step, median (least) of "
          f"{options.rounds} rounds of {repetitions}", flush=True)
    peers = peers_of(build, batch, context, dtype, options)
    times = {name: [] for name in ["ingot", *peers]}
    for _ in range(options.rounds):
        times["ingot"] += ours_round(ingot, preset, batch, context, dtype, repetitions, options.threads)
        for name, peer in peers.items():
            times[name] += peer.round(repetitions)
    ours = times["ingot"]
    print("who | median | least | ratio of medians: ingot / who | of least")
    for name, found in times.items():
        print(f"{name} | {statistics.median(found):.1f} | {min(found):.1f} | "
              f"{statistics.median(ours) / statistics.median(found):.2f} | {min(ours) / min(found):.2f}", flush=True)
    return all(statistics.median(ours) <= statistics.median(times[name]) for name in peers)


def compare_times(ingot, options):
    shapes = options.shapes.split(",") + (["gpt2-t512"] if options.long else [])
    return all([compare_shape(ingot, options, shape, dtype) for shape in shapes for dtype in options.dtypes.split(",")])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"), help="where the program is")
    parser.add_argument("--text", type=pathlib.Path, help="UTF-8 text to use")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", choices=["loss", "time"])
    parser.add_argument("--compile", action="store_true", help="torch.compile too")
    parser.add_argument("--long", action="store_true", help="gpt2-124m at B4 T512 too: minutes")
    parser.add_argument("--shapes", default="gpt2-t64,tiny", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--no-eager", action="store_true", help="leave PyTorch without torch.compile out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    ingot, good = options.build.resolve() / "ingot", True
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {run(ingot, '--version').strip()}")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        text = options.text or folder / "kjv.txt"
        if not options.text and options.only != "time":
            text.write_bytes(subprocess.run(["bible", "-f"], input=b"gen1:1-rev22:21\n", check=True,
                                            capture_output=True).stdout)
        if options.only != "time":
            good = compare_losses(ingot, text, options, folder) and good
        if options.only != "loss":
            good = compare_times(ingot, options) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
