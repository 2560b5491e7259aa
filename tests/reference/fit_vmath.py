"""The polynomials of src/kit/cpu/vmath.h: minimax fits by Remez's exchange, in 60 digits, then rounded to float.

    python tests/reference/fit_vmath.py          # prints each list of coefficients, lowest power first, and its error
"""
import mpmath as mp
import struct

mp.mp.dps = 60


def to_float(x):
    return struct.unpack("f", struct.pack("f", float(x)))[0]


def remez(f, weight, low, high, degree, rounds=12):
    """p of `degree` that minimises max |f - p| * weight over [low, high]; fits p to f at alternating extrema."""
    low, high = mp.mpf(low), mp.mpf(high)
    n = degree + 2
    x = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * i / (n - 1)) for i in range(n)]
    for _ in range(rounds):
        a, y = mp.matrix(n, n), mp.matrix(n, 1)
        for i in range(n):
            for j in range(degree + 1):
                a[i, j] = x[i] ** j
            a[i, n - 1] = (-1) ** i / weight(x[i])
            y[i] = f(x[i])
        c = mp.lu_solve(a, y)
        error = lambda t: (f(t) - sum(c[j] * t**j for j in range(degree + 1))) * weight(t)
        grid = [low + (high - low) * (1 - mp.cos(mp.pi * i / 600)) / 2 for i in range(601)]
        e = [error(t) for t in grid]
        picked, i = [], 0
        while i < len(grid):  # the largest error of each run of one sign
            j = i
            while j < len(grid) and (e[j] > 0) == (e[i] > 0):
                j += 1
            picked.append(max(range(i, j), key=lambda k: abs(e[k])))
            i = j
        while len(picked) > n:
            picked.pop(0 if abs(e[picked[0]]) < abs(e[picked[-1]]) else -1)
        if len(picked) < n:
            break
        x = [grid[k] for k in picked]
    worst = max(abs(v) for v in e)
    return [c[j] for j in range(degree + 1)], worst


def show(name, fit):
    c, worst = fit
    print(f"{name}: worst {mp.nstr(worst, 3)}")
    print("   ", ", ".join(f"{to_float(v):.9g}f" for v in c))


one = lambda t: mp.mpf(1)
half_ln2 = mp.log(2) / 2 * mp.mpf("1.001")


def series(f, terms):
    """A Taylor sum for t near 0, where the closed form divides 0 by 0."""
    return lambda t: sum(f(k) * t**k for k in range(terms))


# exp(r) = 1 + r + r^2 p(r)
show("exp", remez(series(lambda k: 1 / mp.factorial(k + 2), 30), one, -half_ln2, half_ln2, 4))
# log(1 + f) = f - f^2 / 2 + f^3 p(f), 1 + f in [sqrt(1/2), sqrt(2)]
log_tail = lambda f: (mp.log1p(f) - f + f * f / 2) / f**3 if abs(f) > 1e-8 else mp.mpf(1) / 3 - f / 4
show("log", remez(log_tail, one, mp.sqrt(0.5) - 1, mp.sqrt(2) - 1, 8))
# tanh(x) = x + x z p(z), z = x^2, |x| <= 0.625
tanh_tail = lambda z: (mp.tanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z if z > 1e-12 else -mp.mpf(1) / 3 + 2 * z / 15
show("tanh", remez(tanh_tail, one, 0, 0.625**2, 4))
# erf(x) = x p(z), z = x^2, |x| <= 1; log erfc(x) = p(x - 2.5) for x in [1, 4]
erf_head = lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) if z > 1e-30 else 2 / mp.sqrt(mp.pi)
show("erf, small", remez(erf_head, lambda z: 1 / erf_head(z), 0, 1, 6))
show("erf, large", remez(lambda t: mp.log(mp.erfc(t + mp.mpf(2.5))), lambda t: mp.erfc(t + mp.mpf(2.5)), -1.5, 1.5, 6))
# sin(r) = r + r z p(z), cos(r) = 1 - z / 2 + z^2 p(z), z = r^2, |r| <= pi / 4
quarter = (mp.pi / 4 * mp.mpf("1.001")) ** 2
show("sin", remez(series(lambda k: (-1) ** (k + 1) / mp.factorial(2 * k + 3), 20), one, 0, quarter, 3))
show("cos", remez(series(lambda k: (-1) ** k / mp.factorial(2 * k + 4), 20), one, 0, quarter, 3))
# 2^r = 1 + r p(r), |r| <= 1/2
show("exp2", remez(series(lambda k: mp.log(2) ** (k + 1) / mp.factorial(k + 1), 30), one, -0.5005, 0.5005, 5))
