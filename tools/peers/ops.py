#!/usr/bin/env python3
"""Single ops of Ingot beside PyTorch's, oneDNN's, OpenBLAS's and MLX's, on the same machine in the same minutes.

    tools/peers/ops.py --build build [--rounds 3] [--threads 2] [--only sgemm,bgemm,dgemm,small,attention,backward,softmax,norms]
                       [--peers PyTorch,oneDNN] [--sizes 512,1024] [--small]

Products of N x N matrices in float32, bfloat16 and float64; 64 x 64 x 64 on one thread, dispatch included; attention forward
and backward (B4 H12 T1024 D64, causal) in float32 and bfloat16; softmax, RMSNorm and layer norm of 4096 x 4096 and
128 x 1024. Who comes when alternates in each round, so that all meet the same neighbours on the machine; figures are medians
over the samples of all rounds. The ratio is Ingot's time over that of the fastest peer: below 1 Ingot takes less. What is not
installed is said and left out: torch (as it is and through torch.compile, whose first calls take minutes), oneDNN inside
torch, libopenblas, mlx[cpu].
"""
import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import op_peers


def left_out(who, why):
    print(f"LEFT OUT: {who}: {(str(why).splitlines() or ['no reason given'])[0][:160]}", flush=True)


def ours(options, op, shape, dtype, threads):
    command = [str(options.ingot), "bench", "ops", "--ops", op, "--shape", ",".join("x".join(map(str, s)) for s in shape),
               "--dtype", dtype, "--threads", str(threads), "--seconds", str(options.seconds), "--device", "cpu",
               "-o", "jsonl", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    rows = [row for row in map(json.loads, done.stdout.splitlines()) if row["op"] == op]
    if not rows:
        raise RuntimeError(f"no kernel for {dtype}")
    return rows[0]


def seconds_of(work, options):
    work()
    begin = time.perf_counter()
    work()
    runs = max(1, int(1e-3 / max(time.perf_counter() - begin, 1e-7)))
    samples, end = [], time.perf_counter() + options.seconds
    while len(samples) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        for _ in range(runs):
            work()
        samples.append((time.perf_counter() - begin) / runs)
    return samples


class Table:
    def __init__(self, options, peers):
        self.options, self.peers, self.machines = options, peers, []
        print(f"| work | unit | Ingot | {' | '.join(peers)} | ratio | least times | Ingot's kernel, shares |")
        print("|---" * (6 + len(peers)) + "|", flush=True)

    def works(self, what, make):
        """The peers that do this work, each tried once; `make(peer)` gives the work or None."""
        found = {}
        for who, peer in self.peers.items():
            try:
                work = make(peer)
                if work:
                    work()
                    found[who] = work
            except AttributeError:
                pass  # a library of products has no attention
            except Exception as e:
                left_out(f"{who}: {what}", e)
        return found

    def compare(self, what, op, shape, dtype, make, unit, amount=0, threads=0):
        """`amount`: what a second is divided into for the unit GFLOP/s or GB/s; us: the time itself."""
        works = self.works(what, make)
        times, row = {}, None
        for turn in range(self.options.rounds):
            for who in sorted(["Ingot", *works], reverse=turn % 2 == 1):
                if who == "Ingot":
                    try:
                        row = ours(self.options, op, shape, dtype, threads or self.options.threads)
                    except RuntimeError as e:
                        left_out(f"Ingot: {what}", e)
                        return
                    samples = [ns * 1e-9 for ns in row["samples_ns"]]
                    self.machines.append(row)
                else:
                    samples = seconds_of(works[who], self.options)
                times.setdefault(who, []).extend(samples)
        self.print(what, times, unit, amount, row)

    def print(self, what, times, unit, amount, row):
        def figure(who):
            if who not in times:
                return ""
            median = statistics.median(times[who])
            return f"{median * 1e6:.2f}" if unit == "us" else f"{amount / median * 1e-9:.1f}"
        others = [who for who in times if who != "Ingot"]
        mine, note, ratio, least = statistics.median(times["Ingot"]), row["kernels"], "", ""
        if others:
            ratio = f"{mine / min(statistics.median(times[who]) for who in others):.2f}"
            least = f"{min(times['Ingot']) / min(min(times[who]) for who in others):.2f}"
        if unit == "GB/s":
            note += f"; {amount / mine * 1e-9 / self.copy():.2f} of a copy"
        if unit == "GFLOP/s" and row.get("of_limit") and row["dtype"] == "float32":
            note += f"; {amount / mine * 1e-9 / self.peak():.2f} of the peak"
        columns = " | ".join(figure(who) for who in self.peers)
        print(f"| {what} | {unit} | {figure('Ingot')} | {columns} | {ratio} | {least} | {note} |", flush=True)

    def peak(self):
        """The most that was measured in this run: what a machine did once, it can do."""
        return max(row["peak_gflops"] for row in self.machines)

    def copy(self):
        """The median of the run: neighbours leave more or less of the memory, not of the registers."""
        return statistics.median(row["copy_gb_per_s"] for row in self.machines)


def run_gemm(table, dtype, sizes):
    for n in sizes:
        table.compare(f"product {n} {dtype}", "matmul", [(n, n), (n, n)], dtype, lambda peer: peer.gemm(n, dtype), "GFLOP/s",
                      2 * n ** 3)


def run_small(table):
    """One thread for all: the peers' own setting is put back afterwards."""
    one = {}
    for who in table.peers:
        try:
            one[who] = op_peers.PEERS[who](1)
        except Exception as e:
            left_out(who, e)
    small = Table.__new__(Table)
    small.options, small.peers, small.machines = table.options, one, table.machines
    small.compare("product 64, one thread", "matmul", [(64, 64), (64, 64)], "float32", lambda peer: peer.gemm(64, "float32"),
                  "us", threads=1)
    for who in one:
        op_peers.PEERS[who](table.options.threads)


def run_attention(table, backward):
    b, t, h, d = (2, 128, 4, 32) if table.options.small else (4, 1024, 12, 64)
    q, flops = (b, t, h, d), 2 * 2 * b * h * t * (t + 1) / 2 * d
    op, inputs = ("attention_grad", [q] * 5 + [(b, h, t)]) if backward else ("attention", [q] * 3)
    for dtype in ["float32", "bfloat16"]:
        table.compare(f"attention{' backward' if backward else ''} {dtype}", op, inputs, dtype,
                      lambda peer: peer.attention((b, h, t, d), dtype, backward), "GFLOP/s", flops * (2.5 if backward else 1))


def run_rows(table, ops):
    for op, inputs in ops:
        for rows, columns in [(128, 1024)] if table.options.small else [(128, 1024), (4096, 4096)]:
            shape = [(rows, columns)] + [(columns,)] * inputs
            table.compare(f"{op} {rows}x{columns}", op, shape, "float32", lambda peer: peer.rows(op, (rows, columns), "float32"),
                          "GB/s", 8 * rows * columns)


def open_peers(options):
    peers = {}
    for who, make in op_peers.PEERS.items():
        if who not in (options.peers.split(",") if options.peers else op_peers.PEERS):
            continue
        try:
            peers[who] = make(options.threads)
            print(f"{who}: {peers[who]}")
        except Exception as e:
            left_out(who, e)
    return peers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"), help="where the program is")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each peer in each round")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", help="sgemm, bgemm, dgemm, small, attention, backward, softmax, norms; several with commas")
    parser.add_argument("--peers", help=f"{', '.join(op_peers.PEERS)}; several with commas; all without it")
    parser.add_argument("--sizes", help="of products: 512,1024,2048,4096")
    parser.add_argument("--small", action="store_true", help="small shapes: does the script work here?")
    options = parser.parse_args()
    options.ingot = options.build.resolve() / "ingot"
    for library in ["OMP", "OPENBLAS", "MKL"]:
        os.environ[f"{library}_NUM_THREADS"] = str(options.threads)
    sizes = [int(n) for n in options.sizes.split(",")] if options.sizes else [256] if options.small else [512, 1024, 2048, 4096]
    known = {"sgemm": lambda: run_gemm(table, "float32", sizes), "bgemm": lambda: run_gemm(table, "bfloat16", sizes),
             "dgemm": lambda: run_gemm(table, "float64", [n for n in sizes if n <= 1024]), "small": lambda: run_small(table),
             "attention": lambda: run_attention(table, False), "backward": lambda: run_attention(table, True),
             "softmax": lambda: run_rows(table, [("softmax", 0)]),
             "norms": lambda: run_rows(table, [("rms_norm", 1), ("layer_norm", 2)])}
    chosen = options.only.split(",") if options.only else list(known)
    for name, among in [*((name, known) for name in chosen),
                        *((who, op_peers.PEERS) for who in (options.peers.split(",") if options.peers else []))]:
        if name not in among:
            sys.exit(f"{name}: there are {', '.join(among)}")
    print(f"{datetime.date.today()}, {options.threads} threads, {options.rounds} rounds of {options.seconds} s each")
    table = Table(options, open_peers(options))
    for name in chosen:
        known[name]()
    if table.machines:
        on = table.machines[-1]
        print(f"\n{on['version']} on {on['cpu_info']} ({on['cpu_family']}): {table.peak():.0f} GFLOP/s of float32 in "
              f"registers at most, copies of {table.copy():.1f} GB/s in the median")


if __name__ == "__main__":
    main()
