#!/usr/bin/env python3
"""Ingot's steps of GPT-2 124M (B4 T64, float32) beside those of llm.c's CPU trainer, in turns in one run.

    tools/peers/llmc.py --llmc ~/llm.c/train_gpt2 [--build build] [--rounds 3] [--steps 5] [--threads 2]

PATH is a ready binary with its model and data beside it (gpt2_124M.bin, gpt2_tokenizer.bin, dev/data/tinyshakespeare), as llm.c's
README makes them: nothing is fetched or built here. It is started in its folder, its lines "step 3: ... (took 1987.5 ms)" are
read, the first left out, and it is ended after --steps of them. Without the binary that is said, and Ingot is timed alone.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess


def their_round(path, steps, threads):
    """Milliseconds of each step but the first, which warms up."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    child = subprocess.Popen([str(path)], cwd=path.parent, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True)
    times, last = [], ""
    for line in child.stdout:
        last = line.strip() or last
        took = re.match(r"step \d+: .*\(took ([0-9.]+) ms\)", line)
        if took:
            times.append(float(took.group(1)))
        if len(times) > steps:
            break
    child.terminate()
    child.wait()
    if len(times) < 2:
        raise RuntimeError(f"{path} printed no 'step N: ... (took X ms)'; its last line: {last}")
    return times[1:]


def our_round(ingot, steps, threads):
    done = subprocess.run([str(ingot), "bench", "train", "--preset", "gpt2-124m", "--batch-size", "4", "--context", "64",
                           "--repetitions", str(steps), "--threads", str(threads), "--device", "cpu", "-o", "json"],
                          capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"), help="where the program is")
    parser.add_argument("--llmc", type=pathlib.Path, metavar="PATH", help="llm.c's train_gpt2, built, with its files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    path = options.llmc.expanduser().resolve() if options.llmc else None
    if path is None or not os.access(path, os.X_OK):
        print(f"LEFT OUT: llm.c: {f'{path} is no program' if path else '--llmc PATH names a built train_gpt2'}", flush=True)
        path = None
    times, row = {"Ingot": []}, None
    for _ in range(options.rounds):
        row = our_round(options.build.resolve() / "ingot", options.steps, options.threads)
        times["Ingot"] += row["samples_ms"]
        if path:
            try:
                times.setdefault("llm.c", []).extend(their_round(path, options.steps, options.threads))
            except (RuntimeError, OSError) as e:
                print(f"LEFT OUT: llm.c: {e}", flush=True)
                path = None
    print("| gpt2-124m B4 T64 float32 | ms a step, median | least | ratio: Ingot / who |\n|---|---|---|---|")
    ours = statistics.median(times["Ingot"])
    for who, found in times.items():
        print(f"| {who} | {statistics.median(found):.1f} | {min(found):.1f} | {ours / statistics.median(found):.3f} |")
    print(f"\n{row['version']}, {options.threads} threads of {row['cpu_info']} ({row['cpu_family']})")


if __name__ == "__main__":
    main()
