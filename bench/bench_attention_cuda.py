#!/usr/bin/env python3
"""Attention on one GPU: Lariat beside FlashAttention 3 and cuDNN, in one process, on the same tensors, stream and events.

Rests on PyTorch, on liblariat_cuda_bench.so (built with -DLARIAT_BENCH=ON where CUDA is), and on fa3-fwd 0.0.3 in PYTHONPATH if it is there.

  bench_attention_cuda.py LIBRARY [--shapes a,b] [--rounds 5] [--warm 1.5] [--measure 1.0] [--alone] [--out FILE.md] [--json FILE]

Steady regime: each contender alone, warmed for --warm seconds, then timed for --measure seconds, in --rounds rounds of random order. Ratios
are medians of the rounds' ratios. Each contender's result is first checked against softmax in double precision on sampled rows. GQA
is not expanded. Calls are replayed from CUDA graphs, so that no contender waits for Python; decode goes round copies of K and V that
exceed the second-level cache. A causal mask's hidden half is not counted. Ours has the queries' carry cleared before and divided after.
"""
import argparse, ctypes, json, random, statistics, subprocess, sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

# name: queries, keys, heads, KV heads, head_dim. Queries are the last of the keys.
SHAPES = {
    "causal-8k": (8192, 8192, 32, 8, 128),
    "causal-32k": (32768, 32768, 32, 8, 128),
    "causal-128k": (131072, 131072, 32, 8, 128),
    "4k-on-128k": (4096, 131072, 32, 8, 128),
    "256-on-32k": (256, 32768, 32, 8, 128),
    "decode-8k": (1, 8192, 32, 8, 128),
    "decode-64k": (1, 65536, 32, 8, 128),
    "decode-128k": (1, 131072, 32, 8, 128),
    "causal-8k-d64": (8192, 8192, 32, 8, 64),
    "causal-8k-d96": (8192, 8192, 32, 8, 96),
    "causal-8k-d256": (8192, 8192, 16, 4, 256),
}


class Call(ctypes.Structure):
    _fields_ = [("n_heads", ctypes.c_int32), ("n_kv_heads", ctypes.c_int32), ("head_dim", ctypes.c_int32), ("rows", ctypes.c_int32),
                ("keys", ctypes.c_int64), ("q", ctypes.c_void_p), ("k", ctypes.c_void_p), ("v", ctypes.c_void_p),
                ("out", ctypes.c_void_p), ("carry", ctypes.c_void_p)]


class Ours:
    def __init__(self, path):
        self.lib = ctypes.CDLL(path)
        self.lib.bench_open.restype = ctypes.c_void_p
        self.lib.bench_open.argtypes = [ctypes.c_int, ctypes.c_int]
        self.lib.bench_attention.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(Call), ctypes.c_int]
        self.device = self.lib.bench_open(0, 1)
        if not self.device:
            sys.exit("bench_attention_cuda: the kernels cannot be loaded")

    def attend(self, q, k, v, out, carry, only=False):
        rows, heads, dim = q.shape
        call = Call(heads, k.shape[0], dim, rows, k.shape[1], q.data_ptr(), k.data_ptr(), v.data_ptr(), out.data_ptr(), carry.data_ptr())
        status = self.lib.bench_attention(self.device, torch.cuda.current_stream().cuda_stream, ctypes.byref(call), int(only))
        if status:
            sys.exit(f"bench_attention_cuda: CUDA error {status}")
        return out


def exact(q, k, v, rows):
    """Rows of the result in double precision: [len(rows), heads, dim]."""
    heads, kv_heads, keys = q.shape[1], k.shape[0], k.shape[1]
    out = torch.empty(len(rows), heads, q.shape[2], dtype=torch.float64, device="cuda")
    for g in range(kv_heads):
        kd, vd = k[g].double(), v[g].double()
        for n, row in enumerate(rows):
            seen = keys - q.shape[0] + row + 1
            mine = slice(g * heads // kv_heads, (g + 1) * heads // kv_heads)
            p = torch.softmax(q[row, mine].double() @ kd[:seen].T / q.shape[2] ** 0.5, -1)
            out[n, mine] = p @ vd[:seen]
    return out


def contenders(ours, fa3, q, keys, alone):
    """name -> function of (k, v) that returns [rows, heads, dim], and whether it works with a mask."""
    rows, heads, dim = q.shape
    out, carry = torch.empty_like(q), torch.zeros(rows * heads * (dim + 2), dtype=torch.float32, device="cuda")
    # The mask of PyTorch begins with the first key: where queries are the last of more keys, cuDNN computes all pairs, and counts them.
    square = rows == keys

    def cudnn(k, v):
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            o = F.scaled_dot_product_attention(q.transpose(0, 1)[None], k[None], v[None], is_causal=square and rows > 1, enable_gqa=True)
        return o[0].transpose(0, 1)

    def fa3_call(k, v):
        o = fa3(q[None], k.transpose(0, 1)[None], v.transpose(0, 1)[None], causal=True, **({"num_splits": 16} if rows == 1 else {}))
        return (o[0] if isinstance(o, tuple) else o)[0]

    calls = {"lariat": (lambda k, v: ours.attend(q, k, v, out, carry), True), "cuDNN": (cudnn, square)}
    if alone:
        calls["lariat, the op alone"] = (lambda k, v: ours.attend(q, k, v, out, carry, True), True)
    if fa3:
        calls["FlashAttention 3"] = (fa3_call, True)
    return calls


def clock():
    """The multiprocessors' clock now, MHz."""
    try:
        import pynvml
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetClockInfo(pynvml.nvmlDeviceGetHandleByIndex(0), pynvml.NVML_CLOCK_SM)
    except ImportError:
        pass
    told = subprocess.run(["nvidia-smi", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits"], capture_output=True, text=True)
    return int(told.stdout.split()[0])


def seconds(graph, calls, least, clocks=None):
    """Replays for at least so many seconds; seconds a call. The clock is read while the card works."""
    begin, end, n, total, replays = torch.cuda.Event(True), torch.cuda.Event(True), 1, 0.0, 0
    while total < least:
        begin.record()
        for _ in range(n):
            graph.replay()
        end.record()
        if clocks is not None and total > least / 2:
            clocks.append(clock())
        end.synchronize()
        took = begin.elapsed_time(end) / 1e3
        total += took
        replays += n
        n = max(1, min(2000, int(least / 4 * n / took)))
    return total / replays / calls


def capture(function, pairs, calls):
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for i in range(3):
            function(*pairs[i % len(pairs)])
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(calls):
            function(*pairs[i % len(pairs)])
    return graph


def yardsticks(args):
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    graph = capture(lambda x, y: torch.matmul(x, y), [(a, b)], 4)
    seconds(graph, 4, args.warm)
    gemm = 2 * 8192 ** 3 / seconds(graph, 4, args.measure) / 1e12
    x = torch.randn(1 << 30, device="cuda", dtype=torch.float32)
    graph = capture(lambda t, _: torch.sum(t), [(x, None)], 1)
    seconds(graph, 1, args.warm / 2)
    return {"cuBLAS 8192^3, TFLOP/s": gemm, "reading 4 GiB (torch.sum), GB/s": 4 * x.numel() / seconds(graph, 1, args.measure / 2) / 1e9}


def bench_shape(name, ours, fa3, args):
    rows, keys, heads, kv_heads, dim = SHAPES[name]
    torch.manual_seed(1)
    kv_bytes = 2 * kv_heads * keys * dim * 2
    copies = max(1, min(16, -(-400_000_000 // kv_bytes))) if rows == 1 else 1
    q = torch.randn(rows, heads, dim, device="cuda", dtype=torch.bfloat16)
    pairs = [tuple(torch.randn(kv_heads, keys, dim, device="cuda", dtype=torch.bfloat16) for _ in range(2)) for _ in range(copies)]
    n_pairs = rows * (keys - rows) + rows * (rows + 1) / 2
    calls = 32 if rows == 1 else 1
    sample = sorted({0, rows - 1} | {random.randrange(rows) for _ in range(6)})
    want, graphs, result = exact(q, *pairs[0], sample), {}, {}
    for who, (function, masked) in contenders(ours, fa3, q, keys, args.alone).items():
        try:
            got = function(*pairs[0])[sample].double()
            if who.endswith("alone"):  # its result is in the carry; divided, it was the one before it
                error = result["lariat"]["error"]
            elif not masked and rows > 1:
                error = float((got[-1] - want[-1]).norm() / want[-1].norm())  # the last row sees all keys in both
            else:
                error = float((got - want).norm() / want.norm())
            if not error < 1e-2:
                sys.exit(f"bench_attention_cuda: {name}: {who} is wrong: {error:.2e}")
            graphs[who] = capture(function, pairs, calls)
            result[who] = {"error": error, "pairs": n_pairs if masked else rows * keys, "times": [], "clocks": []}
        except RuntimeError as e:
            print(f"{name}: {who}: {str(e).splitlines()[0]}", flush=True)
    for _ in range(args.rounds):
        order = list(graphs)
        random.shuffle(order)
        for who in order:
            seconds(graphs[who], calls, args.warm)
            result[who]["times"].append(seconds(graphs[who], calls, args.measure, result[who]["clocks"]))
    for r in result.values():
        r["rates"] = [4 * r["pairs"] * heads * dim / t / 1e12 if rows > 1 else kv_bytes / t / 1e9 for t in r["times"]]
        r["unit"] = "TFLOP/s" if rows > 1 else "GB/s"
    for r in result.values():
        r["ratio"] = statistics.median(a / b for a, b in zip(result["lariat"]["rates"], r["rates"]))
    return result


def main():
    p = argparse.ArgumentParser()
    p.add_argument("library")
    p.add_argument("--shapes", default="causal-8k,causal-32k,causal-128k,4k-on-128k,256-on-32k,decode-8k,decode-64k,decode-128k")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--warm", type=float, default=1.5)
    p.add_argument("--measure", type=float, default=1.0)
    p.add_argument("--alone", action="store_true", help="also the op attention by itself, on from the carry as it is")
    p.add_argument("--out")
    p.add_argument("--json")
    args = p.parse_args()
    random.seed(1)
    fa3 = None
    try:
        from fa3_fwd_interface import flash_attn_func as fa3
    except ImportError as e:
        print(f"without FlashAttention 3: {e}", flush=True)
    ours, results, lines = Ours(args.library), {}, []
    card = torch.cuda.get_device_name(0)
    yard = yardsticks(args)
    lines += [f"{card}, CUDA {torch.version.cuda}, PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}; "
              f"{args.rounds} rounds, {args.warm} s warm, {args.measure} s measured; bf16, median (least to most)", ""]
    lines += [f"{name}: {value:.0f}" for name, value in yard.items()]
    lines += ["", "| shape | who | rate | | SM clock, MHz | ours / this | error |", "|---|---|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    for name in args.shapes.split(","):
        results[name] = bench_shape(name, ours, fa3, args)
        for who, r in results[name].items():
            lines.append(f"| {name} | {who} | {statistics.median(r['rates']):.0f} ({min(r['rates']):.0f} to {max(r['rates']):.0f}) | {r['unit']} "
                         f"| {statistics.median(r['clocks'] or [0]):.0f} | {r['ratio']:.2f} | {r['error']:.1e} |")
            print(lines[-1], flush=True)
        torch.cuda.empty_cache()
        # After each shape, so that a run that is stopped leaves what it had.
        if args.out:
            with open(args.out, "w") as f:
                f.write("\n".join(lines) + "\n")
        if args.json:
            with open(args.json, "w") as f:
                json.dump({"card": card, "yardsticks": yard, "results": results}, f, indent=1)


if __name__ == "__main__":
    main()
