#!/usr/bin/env python3
"""Ingot's tokenizer beside `tokenizers` (training) and `tiktoken` (encoding), on the same text, in turns.

    tools/peers/tokenizer.py --build build [--text book.txt] [--repetitions 5]

Without --text: the King James text (`bible -f`, Debian's bible-kjv). Training is timed whole, from the file to the saved
tokenizer.json, with all threads: wall and CPU seconds. Encoding is CPU time of one thread from bytes to ids in memory:
tiktoken's encode_ordinary, and ingot_encode, which begins without a memory of words each time; `warm` is an encoder
that has seen the text. The best and the median of the repetitions are shown; ids are compared.
"""
import argparse
import ctypes
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import tiktoken
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
LLAMA = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")


def cpu_of(who):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def timed(function, who=resource.RUSAGE_SELF):
    wall, cpu = time.perf_counter(), cpu_of(who)
    result = function()
    return result, time.perf_counter() - wall, cpu_of(who) - cpu


def train_theirs(text, vocab_size, out):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train([str(text)], trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=["<|endoftext|>"], show_progress=False,
                                             initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.save(str(out))


def train_ours(build, text, vocab_size, out, pattern="gpt-2"):
    subprocess.run([build / "ingot", "tokenizer", "train", "--quiet", "--pattern", pattern, "--vocab-size", str(vocab_size),
                    "--output", out, text], check=True, capture_output=True)


def compare_training(build, text, repetitions, folder):
    print(f"training on {text.stat().st_size / 1e6:.1f} MB, {os.cpu_count()} CPUs: seconds, best (median)\n"
          "entries | tokenizers wall | ingot wall | ratio | tokenizers CPU | ingot CPU | ratio")
    for vocab_size in (1776, 8192, 32768):
        walls, cpus = {"theirs": [], "ours": []}, {"theirs": [], "ours": []}
        for _ in range(repetitions):
            _, wall, cpu = timed(lambda: train_theirs(text, vocab_size, folder / "theirs.json"))
            walls["theirs"].append(wall), cpus["theirs"].append(cpu)
            _, wall, cpu = timed(lambda: train_ours(build, text, vocab_size, folder / f"{vocab_size}.json"),
                                 resource.RUSAGE_CHILDREN)
            walls["ours"].append(wall), cpus["ours"].append(cpu)
        theirs = json.loads((folder / "theirs.json").read_text())["model"]
        ours = json.loads((folder / f"{vocab_size}.json").read_text())["model"]
        same = theirs["vocab"] == ours["vocab"] and theirs["merges"] == [m.split(" ") for m in ours["merges"]]
        cells = [f"{vocab_size:7d}"]
        for times in (walls, cpus):
            cells += [f"{min(times[who]):.3f} ({statistics.median(times[who]):.3f})" for who in ("theirs", "ours")]
            cells.append(f"{min(times['ours']) / min(times['theirs']):.2f}")
        print(" | ".join(cells), "" if same else "  DIFFERENT MERGES", flush=True)


class Ingot:
    """The shared library, as an application uses it."""

    def __init__(self, build):
        self.lib = ctypes.CDLL(str(build / ("libingot.dylib" if sys.platform == "darwin" else "libingot.so")))
        self.lib.ingot_message.restype = ctypes.c_char_p
        self.ctx = ctypes.c_void_p()
        self.check(self.lib.ingot_context_new(None, ctypes.byref(self.ctx)))

    def check(self, status):
        if status:
            sys.exit(self.lib.ingot_message(self.ctx).decode())

    def load(self, path):
        t = ctypes.c_void_p()
        self.check(self.lib.ingot_tokenizer_load(self.ctx, str(path).encode(), ctypes.byref(t)))
        return t

    def encode(self, t, data):
        ids, count = ctypes.POINTER(ctypes.c_int32)(), ctypes.c_int64()
        self.check(self.lib.ingot_encode(t, data, ctypes.c_int64(len(data)), 0, ctypes.byref(ids), ctypes.byref(count)))
        return ids, count.value

    def free(self, ids):
        libc = ctypes.CDLL(None)
        libc.free(ids)

    def encoder(self, t):
        e = ctypes.c_void_p()
        self.check(self.lib.ingot_encoder_new(t, ctypes.byref(e)))
        return e

    def run(self, e, data):
        ids, count = ctypes.POINTER(ctypes.c_int32)(), ctypes.c_int64()
        self.check(self.lib.ingot_encoder_run(e, data, ctypes.c_int64(len(data)), 0, ctypes.byref(ids), ctypes.byref(count)))


def byte_of_letters():
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = [c for c in letters if ord(c) < 256]
    table = {c: ord(c) for c in plain}
    table.update(zip((c for c in letters if ord(c) >= 256), (b for b in range(256) if chr(b) not in plain)))
    return table


def tiktoken_of(path, pattern):
    letters = byte_of_letters()
    vocab = json.loads(path.read_text())["model"]["vocab"]
    ranks = {bytes(letters[c] for c in token): i for token, i in vocab.items() if token != "<|endoftext|>"}
    return tiktoken.Encoding("peer", pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": vocab["<|endoftext|>"]})


def compare_encoding(build, text, repetitions, folder):
    data = text.read_bytes()
    string, ingot = data.decode(), Ingot(build)
    print(f"\nencoding {len(data) / 1e6:.1f} MB: MB a CPU second of one thread, best (median)\n"
          "pattern, entries | tiktoken | ingot_encode | ratio | warm encoder | ratio")
    train_ours(build, text, 32768, folder / "llama.json", "llama-bpe")
    for name, pattern, path in [(f"gpt-2 {v}", GPT2, folder / f"{v}.json") for v in (1776, 8192, 32768)] + \
                               [("llama-bpe 32768", LLAMA, folder / "llama.json")]:
        theirs, t = tiktoken_of(path, pattern), ingot.load(path)
        encoder, speeds, same = ingot.encoder(t), {"theirs": [], "ours": [], "warm": []}, True
        ingot.run(encoder, data)
        for _ in range(repetitions):
            expected, _, cpu = timed(lambda: theirs.encode_ordinary(string), resource.RUSAGE_THREAD)
            speeds["theirs"].append(len(data) / 1e6 / cpu)
            (ids, count), _, cpu = timed(lambda: ingot.encode(t, data), resource.RUSAGE_THREAD)
            speeds["ours"].append(len(data) / 1e6 / cpu)
            same = same and ids[:count] == expected
            ingot.free(ids)
            _, _, cpu = timed(lambda: ingot.run(encoder, data), resource.RUSAGE_THREAD)
            speeds["warm"].append(len(data) / 1e6 / cpu)
        best = {who: max(values) for who, values in speeds.items()}
        shown = {who: f"{best[who]:.1f} ({statistics.median(speeds[who]):.1f})" for who in speeds}
        print(f"{name} | {shown['theirs']} | {shown['ours']} | {best['ours'] / best['theirs']:.1f} | {shown['warm']} | "
              f"{best['warm'] / best['theirs']:.1f}", "" if same else "  DIFFERENT IDS", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"), help="where ingot and libingot are")
    parser.add_argument("--text", type=pathlib.Path, help="UTF-8 text to use")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        text = options.text or folder / "kjv.txt"
        if not options.text:
            text.write_bytes(subprocess.run(["bible", "-f"], input=b"gen1:1-rev22:21\n", check=True, capture_output=True).stdout)
        compare_training(options.build.resolve(), text, options.repetitions, folder)
        compare_encoding(options.build.resolve(), text, options.repetitions, folder)


if __name__ == "__main__":
    main()
