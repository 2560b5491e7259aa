#!/usr/bin/env python3
"""Single ops of Ingot beside PyTorch's, OpenBLAS's and oneDNN's, on the same machine in the same minutes.

    tools/peers/ops.py --build build [--rounds 3] [--threads 2] [--only gemm,attention,softmax,norms] [--compile] [--small]

Products of N x N matrices in float32, float64 and bfloat16; attention forward and backward (B4 H12 T1024 D64, causal) in
float32 and bfloat16; softmax, RMSNorm and layer norm of 4096 x 4096 and 128 x 1024. Who comes when alternates in each
round, so that all meet the same neighbours on the machine; figures are medians over the samples of all rounds. A ratio
below 1 means that Ingot takes less time. Ingot's kernels and the machine are printed. What is not installed is said and
left out: torch (--compile adds torch.compile, whose first calls take minutes), libopenblas, oneDNN inside torch.
"""
import argparse
import ctypes
import ctypes.util
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time


def left_out(who, why):
    print(f"LEFT OUT: {who}: {why}", flush=True)


# ---- Ingot ----

def ours(options, op, shape, dtype):
    command = [str(options.ingot), "bench", "ops", "--ops", op, "--shape", ",".join("x".join(map(str, s)) for s in shape),
               "--dtype", dtype, "--threads", str(options.threads), "--seconds", str(options.seconds), "--device", "cpu",
               "-o", "jsonl", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return None, done.stderr.strip().splitlines()[-1]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    rows = [row for row in rows if row["op"] == op]
    return (rows[0], None) if rows else (None, f"no kernel for {dtype}")


# ---- peers: each is a function that does the work once ----

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


class OpenBLAS:
    """The system's library through ctypes: cblas_sgemm and cblas_dgemm."""

    def __init__(self, threads):
        name = ctypes.util.find_library("openblas")
        if not name:
            raise RuntimeError("libopenblas is not installed")
        self.library = ctypes.CDLL(name)
        self.library.openblas_get_config.restype = ctypes.c_char_p
        self.library.openblas_set_num_threads(threads)

    def __str__(self):
        return self.library.openblas_get_config().decode()

    def gemm(self, n, dtype):
        import numpy
        kind, real, call = {"float32": (numpy.float32, ctypes.c_float, self.library.cblas_sgemm),
                            "float64": (numpy.float64, ctypes.c_double, self.library.cblas_dgemm)}[dtype]
        a, b, c = (numpy.random.standard_normal((n, n)).astype(kind) for _ in range(3))
        at = [ctypes.c_void_p(x.ctypes.data) for x in (a, b, c)]
        whole = ctypes.c_int(n)

        def work(keep=(a, b, c)):
            call(101, 111, 111, whole, whole, whole, real(1), at[0], whole, at[1], whole, real(0), at[2], whole)
        return work


def torch_peers(options, make):
    """PyTorch as it is and, with --compile, compiled. `make(torch, wrap)` gives the work."""
    import torch
    peers = {"PyTorch": make(torch, lambda f: f)}
    if options.compile:
        try:
            peers["torch.compile"] = make(torch, torch.compile)
            peers["torch.compile"]()
        except Exception as e:
            peers.pop("torch.compile", None)
            left_out("torch.compile", str(e).splitlines()[0][:160])
    return peers


def gemm_peers(options, n, dtype):
    import torch
    kind = getattr(torch, dtype)
    a, b = torch.randn(n, n, dtype=torch.float32).to(kind), torch.randn(n, n, dtype=torch.float32).to(kind)
    out = torch.empty(n, n, dtype=kind)
    peers = {"PyTorch": lambda: torch.mm(a, b, out=out)}
    if dtype != "float64":
        try:
            x, w = a.to_mkldnn(), b.to_mkldnn()
            torch._C._nn.mkldnn_linear(x, w, None)
            peers["oneDNN"] = lambda: torch._C._nn.mkldnn_linear(x, w, None)
        except Exception as e:
            left_out(f"oneDNN {dtype}", str(e).splitlines()[0][:160])
    if dtype != "bfloat16" and options.openblas:
        peers["OpenBLAS"] = options.openblas.gemm(n, dtype)
    return peers


def attention_peers(options, shape, dtype, backward):
    def make(torch, wrap):
        b, t, h, d = shape
        q, k, v = (torch.randn(b, h, t, d, dtype=torch.float32).to(getattr(torch, dtype)).requires_grad_(backward)
                   for _ in range(3))
        attend = wrap(lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True))
        if not backward:
            def forward():
                with torch.no_grad():
                    attend(q, k, v)
            return forward
        o = attend(q, k, v)
        dy = torch.randn_like(o)
        return lambda: torch.autograd.grad(o, (q, k, v), dy, retain_graph=True)
    return torch_peers(options, make)


def rows_peers(options, op, shape, dtype):
    def make(torch, wrap):
        x = torch.randn(*shape).to(getattr(torch, dtype))
        w, b = torch.randn(shape[1]).to(x.dtype), torch.randn(shape[1]).to(x.dtype)
        f = torch.nn.functional
        work = wrap({"softmax": lambda: torch.softmax(x, -1),
                     "rms_norm": lambda: f.rms_norm(x, (shape[1],), w, 1e-5),
                     "layer_norm": lambda: f.layer_norm(x, (shape[1],), w, b, 1e-5)}[op])

        def once():
            with torch.no_grad():
                work()
        return once
    return torch_peers(options, make)


# ---- the table ----

class Table:
    def __init__(self, options):
        self.options, self.rows = options, []

    def compare(self, what, op, shape, dtype, make_peers, unit):
        """unit: (name, amount): what a second is divided into."""
        options = self.options
        try:
            peers = make_peers()
        except Exception as e:
            left_out(f"{what}: PyTorch", str(e).splitlines()[0][:160])
            peers = {}
        times, kernels, machine = {"ingot": []}, "", ""
        for turn in range(options.rounds):
            order = ["ingot", *peers] if turn % 2 == 0 else [*peers, "ingot"]
            for who in order:
                if who == "ingot":
                    row, why = ours(options, op, shape, dtype)
                    if not row:
                        left_out(f"{what}: ingot", why)
                        return
                    times[who] += [ns * 1e-9 for ns in row["samples_ns"]]
                    kernels, copy = row["kernels"], row["copy_gb_per_s"]
                    machine = f"{row['cpu_info']} ({row['cpu_family']})"
                else:
                    times.setdefault(who, []).extend(seconds_of(peers[who], options))
        self.print(what, times, unit, kernels, copy)
        self.machine = machine

    def print(self, what, times, unit, kernels, copy):
        name, amount = unit
        mine = statistics.median(times["ingot"])
        for who, samples in times.items():
            median = statistics.median(samples)
            rate = amount / median * 1e-9
            note = kernels if who == "ingot" else f"{mine / median:.2f}x"
            if who == "ingot" and name == "GB/s":
                note += f"; {rate / copy:.2f} of the copy bandwidth"
            print(f"| {what} | {who} | {median * 1e3:.3f} | {min(samples) * 1e3:.3f} | {rate:.1f} {name} | {note} |", flush=True)


def run_gemm(options, table):
    sizes = [256, 512] if options.small else [512, 1024, 2048, 4096]
    for dtype in ["float32", "float64", "bfloat16"]:
        for n in sizes if dtype != "float64" else [n for n in sizes if n <= 1024]:
            table.compare(f"gemm {n} {dtype}", "matmul", [(n, n), (n, n)], dtype, lambda: gemm_peers(options, n, dtype),
                          ("GFLOP/s", 2 * n ** 3))


def run_attention(options, table):
    b, t, h, d = (2, 128, 4, 32) if options.small else (4, 1024, 12, 64)
    q, flops = (b, t, h, d), 2 * 2 * b * h * t * (t + 1) / 2 * d
    for dtype in ["float32", "bfloat16"]:
        table.compare(f"attention {dtype}", "attention", [q, q, q], dtype,
                      lambda: attention_peers(options, q, dtype, False), ("GFLOP/s", flops))
        table.compare(f"attention backward {dtype}", "attention_grad", [q, q, q, q, q, (b, h, t)], dtype,
                      lambda: attention_peers(options, q, dtype, True), ("GFLOP/s", 2.5 * flops))


def run_rows(options, table, ops):
    for op, inputs in ops:
        for rows, columns in [(128, 1024)] if options.small else [(128, 1024), (4096, 4096)]:
            shape = [(rows, columns)] + [(columns,)] * inputs
            table.compare(f"{op} {rows}x{columns}", op, shape, "float32",
                          lambda: rows_peers(options, op, (rows, columns), "float32"), ("GB/s", 8 * rows * columns))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"), help="where the program is")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each peer in each round")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", help="gemm, attention, softmax, norms; several with commas")
    parser.add_argument("--compile", action="store_true", help="torch.compile too")
    parser.add_argument("--small", action="store_true", help="small shapes: does the script work here?")
    options = parser.parse_args()
    options.ingot = options.build.resolve() / "ingot"
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    try:
        import torch
        torch.set_num_threads(options.threads)
        print(f"torch {torch.__version__}")
    except ImportError as e:
        left_out("PyTorch", e)
    try:
        options.openblas = OpenBLAS(options.threads)
        print(options.openblas)
    except (RuntimeError, OSError) as e:
        options.openblas = None
        left_out("OpenBLAS", e)
    print(f"{datetime.date.today()}, {options.threads} threads, {options.rounds} rounds of {options.seconds} s each\n")
    print("| work | who | median ms | least ms | rate | ingot's kernels; ingot's time over theirs |\n|---|---|---|---|---|---|")
    table = Table(options)
    known = {"gemm": lambda: run_gemm(options, table), "attention": lambda: run_attention(options, table),
             "softmax": lambda: run_rows(options, table, [("softmax", 0)]),
             "norms": lambda: run_rows(options, table, [("rms_norm", 1), ("layer_norm", 2)])}
    for name in options.only.split(",") if options.only else known:
        if name not in known:
            sys.exit(f"--only {name}: there are {', '.join(known)}")
        known[name]()
    print(f"\n{getattr(table, 'machine', '')}")


if __name__ == "__main__":
    main()
