"""What tools/peers/ops.py measures Ingot beside: each peer gives, for a piece of work, a function that does it once.

    peer.gemm(n, dtype), peer.attention((B, H, T, D), dtype, backward), peer.rows(op, (rows, columns), dtype)

None: the peer does not do this work. Peers that are not installed raise when they are made.
"""
import ctypes
import ctypes.util


class Torch:
    """PyTorch as it is; with compiled=True through torch.compile, products excepted: they are the library's either way."""

    def __init__(self, threads, compiled=False):
        import torch
        self.torch, self.compiled = torch, compiled
        torch.set_num_threads(threads)

    def __str__(self):
        return f"torch {self.torch.__version__}"

    def dtype(self, name):
        return getattr(self.torch, name)

    def random(self, shape, dtype):
        return self.torch.randn(*shape, dtype=self.torch.float32).to(self.dtype(dtype))

    def wrap(self, function):
        return self.torch.compile(function) if self.compiled else function

    def without_gradients(self, work):
        def once():
            with self.torch.no_grad():
                work()
        return once

    def gemm(self, n, dtype):
        if self.compiled:
            return None
        a, b, out = self.random((n, n), dtype), self.random((n, n), dtype), self.torch.empty(n, n, dtype=self.dtype(dtype))
        return lambda: self.torch.mm(a, b, out=out)

    def attention(self, shape, dtype, backward):
        q, k, v = (self.random(shape, dtype).requires_grad_(backward) for _ in range(3))
        attend = self.wrap(lambda q, k, v: self.torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True))
        if not backward:
            return self.without_gradients(lambda: attend(q, k, v))
        o = attend(q, k, v)
        dy = self.torch.randn_like(o)
        return lambda: self.torch.autograd.grad(o, (q, k, v), dy, retain_graph=True)

    def rows(self, op, shape, dtype):
        x, w, b = self.random(shape, dtype), self.random(shape[1:], dtype), self.random(shape[1:], dtype)
        f = self.torch.nn.functional
        return self.without_gradients(self.wrap({
            "softmax": lambda: self.torch.softmax(x, -1),
            "rms_norm": lambda: f.rms_norm(x, shape[1:], w, 1e-5),
            "layer_norm": lambda: f.layer_norm(x, shape[1:], w, b, 1e-5)}[op]))


class OneDNN:
    """oneDNN's product on its own tensors, through PyTorch: PyTorch itself may take another library's."""

    def __init__(self, threads):
        import torch
        self.torch = torch
        torch.set_num_threads(threads)
        if not torch.backends.mkldnn.is_available():
            raise RuntimeError("this PyTorch was built without oneDNN")

    def __str__(self):
        return "oneDNN of this PyTorch"

    def gemm(self, n, dtype):
        if dtype == "float64":
            return None
        kind = getattr(self.torch, dtype)
        x, w = (self.torch.randn(n, n).to(kind).to_mkldnn() for _ in range(2))
        return lambda: self.torch._C._nn.mkldnn_linear(x, w, None)


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
        known = {"float32": (numpy.float32, ctypes.c_float, self.library.cblas_sgemm),
                 "float64": (numpy.float64, ctypes.c_double, self.library.cblas_dgemm)}
        if dtype not in known:
            return None
        kind, real, call = known[dtype]
        a, b, c = (numpy.random.standard_normal((n, n)).astype(kind) for _ in range(3))
        at = [ctypes.c_void_p(x.ctypes.data) for x in (a, b, c)]
        whole = ctypes.c_int(n)

        def work(keep=(a, b, c)):
            call(101, 111, 111, whole, whole, whole, real(1), at[0], whole, at[1], whole, real(0), at[2], whole)
        return work


class MLX:
    """MLX's build for CPUs (mlx[cpu]); its number of threads is its own."""

    def __init__(self, threads):
        import mlx.core
        self.mx = mlx.core
        self.mx.set_default_device(self.mx.cpu)

    def __str__(self):
        return f"mlx {self.mx.__version__}"

    def random(self, shape, dtype):
        with self.mx.stream(self.mx.cpu):
            x = self.mx.random.normal(shape).astype(getattr(self.mx, dtype))
        self.mx.eval(x)
        return x

    def gemm(self, n, dtype):
        a, b = self.random((n, n), dtype), self.random((n, n), dtype)
        return lambda: self.mx.eval(a @ b)

    def attention(self, shape, dtype, backward):
        mx = self.mx
        q, k, v, dy = (self.random(shape, dtype) for _ in range(4))

        def attend(q, k, v):
            return mx.fast.scaled_dot_product_attention(q, k, v, scale=shape[3] ** -0.5, mask="causal")
        if not backward:
            return lambda: mx.eval(attend(q, k, v))
        return lambda: mx.eval(mx.vjp(attend, [q, k, v], [dy])[1])  # runs the forward part as well

    def rows(self, op, shape, dtype):
        mx = self.mx
        x, w, b = self.random(shape, dtype), self.random(shape[1:], dtype), self.random(shape[1:], dtype)
        work = {"softmax": lambda: mx.softmax(x, axis=-1),
                "rms_norm": lambda: mx.fast.rms_norm(x, w, 1e-5),
                "layer_norm": lambda: mx.fast.layer_norm(x, w, b, 1e-5)}[op]
        return lambda: mx.eval(work())


# In the order of the table's columns.
PEERS = {"PyTorch": Torch, "torch.compile": lambda threads: Torch(threads, compiled=True), "oneDNN": OneDNN,
         "OpenBLAS": OpenBLAS, "MLX": MLX}
