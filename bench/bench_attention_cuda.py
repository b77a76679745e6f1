#!/usr/bin/env python3
"""Attention on one GPU: Lariat beside FlashAttention 3 and cuDNN, in one process, on the same tensors and stream.

Rests on PyTorch, on liblariat_cuda_bench.so (built with -DLARIAT_BENCH=ON where CUDA is), and on fa3-fwd 0.0.3 in PYTHONPATH if it is there.

  bench_attention_cuda.py LIBRARY [--shapes a,b] [--who lariat,op,cudnn,fa3] [--budget 145] [--rounds 5] [--out FILE.md] [--json FILE]
  bench_attention_cuda.py --list          shapes and contenders; needs neither PyTorch nor a GPU

Two regimes, both from one round for each contender alone, contenders in random order. Burst: the card idles for --idle seconds, then
works for about 30 ms, or one call where that is longer. Steady: the same calls go on for --warm seconds, which holds the card at its
power limit, and the next --measure seconds count. Figures are medians of the rounds, ratios medians of the rounds' ratios. A shape gets
as many rounds as its share of --budget allows, at least one and at most --rounds.

What is timed is what is checked: calls are captured in a CUDA graph, its output is overwritten, one replay runs, and sampled rows are
compared with softmax in double precision, each row and head by itself. A contender that is wrong is not timed, and the exit status is 1.

Inputs are N(0, 1) in bf16; GQA is not expanded; a causal mask's hidden half is not counted. Decode goes round copies of K and V of 1 GB
in all, so that the second-level cache serves none of it. Ours is what a layer needs, queries to rows of bf16;
`op` goes on from a carry and leaves one. FlashAttention 3 runs with the num_splits and pack_gqa that are fastest for the shape.
"""
import argparse, ctypes, itertools, json, random, statistics, sys, time

try:
    import torch
    import torch.nn.functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel
except ImportError:
    torch = None  # --list and --help do without

START = time.monotonic()

# name: queries, keys, heads, KV heads, head_dim. Queries are the last of the keys.
SHAPES = {
    "causal-8k": (8192, 8192, 32, 8, 128),
    "causal-32k": (32768, 32768, 32, 8, 128),
    "4k-on-128k": (4096, 131072, 32, 8, 128),
    "256-on-32k": (256, 32768, 32, 8, 128),
    "causal-8k-d64": (8192, 8192, 32, 8, 64),
    "causal-8k-d96": (8192, 8192, 32, 8, 96),
    "causal-8k-d256": (8192, 8192, 32, 8, 256),
    "decode-8k": (1, 8192, 32, 8, 128),
    "decode-64k": (1, 65536, 32, 8, 128),
    "decode-128k": (1, 131072, 32, 8, 128),
    "causal-128k": (131072, 131072, 32, 8, 128),  # last: it has what the others leave of the budget
}
WHO = {
    "lariat": "Lariat, as a layer needs it",
    "op": "Lariat's attention by itself, on from the carry as it is",
    "cudnn": "cuDNN through PyTorch; where queries are the last of more keys it computes all pairs, and all are counted",
    "fa3": "FlashAttention 3",
}
BURST = 0.03           # seconds
DECODE_CALLS = 32      # in a graph, or as many as there are copies
DECODE_BYTES = 1 << 30 # of K and V before a copy's turn comes again: many times any second-level cache
LARGEST_ERROR = 1e-2   # of a row and head, ||got - want|| / ||want||; bf16's own is near 2e-3


def fa3_variants(rows):
    """(num_splits, pack_gqa) to choose among; 0 splits: its own choice. Tiles of many queries fill the card without either."""
    if rows >= 8192:
        return [(1, False)]
    return list(itertools.product([1] if rows >= 1024 else [0, 1, 2, 4, 8, 16, 32, 64], [False, True]))


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

    def attend(self, q, k, v, out, carry, only):
        rows, heads, dim = q.shape
        call = Call(heads, k.shape[0], dim, rows, k.shape[1], q.data_ptr(), k.data_ptr(), v.data_ptr(), out.data_ptr(), carry.data_ptr())
        status = self.lib.bench_attention(self.device, torch.cuda.current_stream().cuda_stream, ctypes.byref(call), int(only))
        if status:
            raise RuntimeError(f"CUDA error {status}")


class Contender:
    """call(k, v) computes into what it returns, [rows, heads, dim]; all_pairs: without a mask."""
    accumulates = False

    def __init__(self, call, all_pairs=False, how=""):
        self.call, self.all_pairs, self.how = call, all_pairs, how

    def wipe(self):
        self.out.fill_(float("nan"))

    def result(self, rows):
        return self.out[rows].double()

    def capture(self, pairs, calls):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.call(*pairs[0])
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        self.graph, self.calls = torch.cuda.CUDAGraph(), calls
        with torch.cuda.graph(self.graph):
            for i in range(calls):
                self.out = self.call(*pairs[i % len(pairs)])
        self.once = min(self.time(1)[0] for _ in range(2))
        return self

    def time(self, n):
        """Seconds of one replay out of n in a row, and the multiprocessors' clock while they run, MHz."""
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(n):
            self.graph.replay()
        end.record()
        clock = sm_clock()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / n, clock

    def round(self, args):
        """One round of both regimes: ((seconds a call, MHz) of the burst, the same of the steady state)."""
        time.sleep(args.idle)
        if self.once < BURST / 4:
            self.time(max(1, int(BURST / 4 / self.once)))
        burst = self.time(max(1, round(BURST / self.once)))
        until = time.monotonic() + args.warm
        while time.monotonic() < until:
            self.time(max(1, int(0.1 / self.once)))
        steady = self.time(max(1, round(args.measure / self.once)))
        return [(t / self.calls, clock) for t, clock in (burst, steady)]


class Op(Contender):
    """Lariat's op without what is before and after it: its result is in the carry, O and then m and l, over all calls' keys."""
    accumulates = True

    def __init__(self, call, carry, shape):
        super().__init__(call)
        self.carry, n = carry, shape[0] * shape[1]
        self.o, self.l = carry[:n * shape[2]].view(shape), carry[n * (shape[2] + 1):].view(shape[0], shape[1], 1)

    def wipe(self):
        self.carry.zero_()

    def result(self, rows):
        return self.o[rows].double() / self.l[rows].double()


def sm_clock():
    try:
        return torch.cuda.clock_rate()
    except Exception:  # without pynvml, or a driver that does not say
        return None


def ours_contender(ours, q, only):
    rows, heads, dim = q.shape
    out, carry = torch.empty_like(q), torch.zeros(rows * heads * (dim + 2), dtype=torch.float32, device=q.device)

    def call(k, v):
        ours.attend(q, k, v, out, carry, only)
        return out

    return Op(call, carry, q.shape) if only else Contender(call)


def cudnn_contender(q, keys):
    rows = q.shape[0]

    # The mask of PyTorch begins with the first key, not with the last.
    def call(k, v):
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            o = F.scaled_dot_product_attention(q.transpose(0, 1)[None], k[None], v[None], is_causal=1 < rows == keys, enable_gqa=True)
        return o[0].transpose(0, 1)

    return Contender(call, all_pairs=rows < keys)


def fa3_contender(fa3, q, pairs, calls, want):
    """The fastest of the variants that are right."""
    def variant(splits, pack):
        def call(k, v):
            o = fa3(q[None], k.transpose(0, 1)[None], v.transpose(0, 1)[None], causal=True, num_splits=splits, pack_gqa=pack)
            return (o[0] if isinstance(o, tuple) else o)[0]
        return Contender(call, how=f"splits {splits or 'auto'}{', packed' if pack else ''}")

    timed, failures, variants = [], [], fa3_variants(q.shape[0])
    for splits, pack in variants:
        try:
            c = variant(splits, pack).capture(pairs, calls)
            if len(variants) > 1:
                checked(c, want)
                c.once = min(c.time(max(1, int(0.01 / c.once)))[0] for _ in range(3))
            timed.append(c)
        except (ValueError, RuntimeError) as e:
            failures.append(e)
    if not timed:
        raise failures[0]
    if failures:
        print(f"FlashAttention 3: {len(failures)} of {len(variants)} variants failed, the first: {str(failures[0]).splitlines()[0]}", flush=True)
    return min(timed, key=lambda c: c.once)


def exact(q, k, v, rows, all_pairs):
    """Rows of the result in double precision: [len(rows), heads, dim]."""
    heads, kv_heads, keys = q.shape[1], k.shape[0], k.shape[1]
    out = torch.empty(len(rows), heads, q.shape[2], dtype=torch.float64, device=q.device)
    for g in range(kv_heads):
        kd, vd = k[g].double(), v[g].double()
        for n, row in enumerate(rows):
            seen = keys if all_pairs else keys - q.shape[0] + row + 1
            mine = slice(g * heads // kv_heads, (g + 1) * heads // kv_heads)
            p = torch.softmax(q[row, mine].double() @ kd[:seen].T / q.shape[2] ** 0.5, -1)
            out[n, mine] = p @ vd[:seen]
    return out


def checked(contender, want):
    """Of one replay: the error of the worst row and head, and the largest difference of an element."""
    contender.wipe()
    contender.graph.replay()
    rows, expected = want(contender)
    difference = contender.result(rows) - expected
    worst = float((difference.norm(dim=-1) / expected.norm(dim=-1)).max())
    if not worst < LARGEST_ERROR:
        raise ValueError(f"wrong: ||got - want|| / ||want|| of the worst row and head is {worst:.2e}, at most {LARGEST_ERROR:.0e} is right")
    return worst, float(difference.abs().max())


def open_contenders(name, ours, fa3, args):
    """who -> contender, captured and checked; and whether one was wrong."""
    rows, keys, heads, kv_heads, dim = SHAPES[name]
    copies = max(2, -(-DECODE_BYTES // (4 * kv_heads * keys * dim))) if rows == 1 else 1
    calls = copies * max(1, DECODE_CALLS // copies) if rows == 1 else 1
    q = torch.randn(rows, heads, dim, device="cuda", dtype=torch.bfloat16)
    # One tensor: calls that differ by a shift of their keys go out with the lists of the first, which a captured graph needs, as a list
    # that is brought to the card within the graph would be there already when the graph runs again.
    pairs = [(k, v) for k, v in torch.randn(copies, 2, kv_heads, keys, dim, device="cuda", dtype=torch.bfloat16)]
    # First, last, and one of every sixteenth part: no tile's place is always spared.
    sample = sorted({0, rows - 1} | {random.randrange(rows * i // 16, max(rows * i // 16 + 1, rows * (i + 1) // 16)) for i in range(16)})
    known, opened, wrong = {}, {}, False

    def want(contender):
        key = contender.all_pairs, contender.accumulates
        if key not in known:
            k, v = (torch.cat(each, 1) for each in zip(*pairs)) if contender.accumulates else pairs[-1]
            known[key] = exact(q, k, v, sample, contender.all_pairs)
        return sample, known[key]

    for who in args.who:
        try:
            if who == "fa3":
                c = fa3_contender(fa3, q, pairs, calls, want)
            else:
                c = (cudnn_contender(q, keys) if who == "cudnn" else ours_contender(ours, q, who == "op")).capture(pairs, calls)
            c.worst, c.largest = checked(c, want)
            opened[who] = c
        except ValueError as e:
            print(f"{name}: {who}: {e}", flush=True)
            wrong = True
        except RuntimeError as e:
            print(f"{name}: {who}: {str(e).splitlines()[0]}", flush=True)
    return opened, wrong


def bench_shape(name, ours, fa3, args, deadline):
    """who -> what was measured; and whether one was wrong."""
    rows, keys, heads, kv_heads, dim = SHAPES[name]
    opened, wrong = open_contenders(name, ours, fa3, args)
    taken, cost = {who: [] for who in opened}, 0
    for n in range(args.rounds):
        began = time.monotonic()
        if n and began + cost > deadline:
            break
        for who in random.sample(list(opened), len(opened)):
            taken[who].append(opened[who].round(args))
        cost = time.monotonic() - began
    result = {}
    for who, c in opened.items():
        n_pairs = rows * keys if c.all_pairs else rows * (keys - rows) + rows * (rows + 1) / 2
        work = 4 * n_pairs * heads * dim / 1e12 if rows > 1 else 4 * kv_heads * keys * dim / 1e9
        result[who] = {"unit": "TFLOP/s" if rows > 1 else "GB/s", "how": c.how, "worst": c.worst, "largest": c.largest}
        for i, regime in enumerate(("burst", "steady")):
            result[who][regime] = {"rates": [work / r[i][0] for r in taken[who]], "clocks": [r[i][1] for r in taken[who] if r[i][1]]}
    for r in result.values():
        for regime in ("burst", "steady"):
            ratios = [a / b for a, b in zip(result["lariat"][regime]["rates"], r[regime]["rates"])] if "lariat" in result else []
            r[regime]["ratio"] = statistics.median(ratios) if ratios else None
    return result, wrong


def yardsticks(args):
    """Steady rates of a matrix product and of reading memory."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    x = torch.randn(1 << 30, device="cuda", dtype=torch.float32)
    gemm = Contender(lambda k, v: torch.matmul(k, v)).capture([(a, b)], 1).round(args)[1][0]
    read = Contender(lambda k, v: torch.sum(k)).capture([(x, None)], 1).round(args)[1][0]
    return {"cuBLAS 8192^3, TFLOP/s": 2 * 8192 ** 3 / gemm / 1e12, "reading 4 GiB (torch.sum), GB/s": 4 * x.numel() / read / 1e9}


def table_row(name, who, r):
    def regime(m):
        clock = f" at {statistics.median(m['clocks']):.0f} MHz" if m["clocks"] else ""
        return f"{statistics.median(m['rates']):.0f} ({min(m['rates']):.0f} to {max(m['rates']):.0f}){clock}"

    ratios = " | ".join("" if r[m]["ratio"] is None else f"{r[m]['ratio']:.3f}" for m in ("burst", "steady"))
    return (f"| {name} | {who}{' (' + r['how'] + ')' if r['how'] else ''} | {r['unit']} | {regime(r['burst'])} | {regime(r['steady'])} "
            f"| {ratios} | {r['worst']:.1e} | {r['largest']:.1e} |")


def named(choices):
    def parse(text):
        for name in text.split(","):
            if name not in choices:
                raise argparse.ArgumentTypeError(f"{name}: choose from {','.join(choices)}")
        return text.split(",")
    return parse


def parse_arguments():
    p = argparse.ArgumentParser(description="Attention on one GPU: Lariat beside FlashAttention 3 and cuDNN")
    p.add_argument("library", nargs="?", help="liblariat_cuda_bench.so")
    p.add_argument("--list", action="store_true", help="shapes and contenders, and stop")
    p.add_argument("--shapes", type=named(SHAPES), default=list(SHAPES))
    p.add_argument("--who", type=named(WHO), default=["lariat", "cudnn", "fa3"])
    p.add_argument("--budget", type=float, default=145, help="seconds for everything (default %(default)s)")
    p.add_argument("--rounds", type=int, default=5, help="of a shape, at most (default %(default)s)")
    p.add_argument("--idle", type=float, default=0.2, help="seconds before a burst (default %(default)s)")
    p.add_argument("--warm", type=float, default=1.0, help="seconds before the steady state is measured (default %(default)s)")
    p.add_argument("--measure", type=float, default=0.25, help="seconds of the steady state (default %(default)s)")
    p.add_argument("--out", help="the table as Markdown")
    p.add_argument("--json", help="every round")
    args = p.parse_args()
    if args.list:
        for name, (rows, keys, heads, kv_heads, dim) in SHAPES.items():
            print(f"{name}: {rows} queries, the last of {keys} keys, {heads} heads on {kv_heads}, head_dim {dim}; "
                  f"FlashAttention 3 in {len(fa3_variants(rows))} variants")
        print("\n".join(f"{who}: {what}" for who, what in WHO.items()))
        sys.exit(0)
    if not args.library:
        p.error("the library is missing: build target lariat_cuda_bench with -DLARIAT_BENCH=ON and name it")
    if args.rounds < 1:
        p.error("--rounds: at least 1")
    return args


def main():
    args, fa3 = parse_arguments(), None
    if torch is None or not torch.cuda.is_available():
        sys.exit("bench_attention_cuda: needs PyTorch and a GPU")
    random.seed(1)
    torch.manual_seed(1)
    if "fa3" in args.who:
        try:
            from fa3_fwd_interface import flash_attn_func as fa3
        except (ImportError, OSError) as e:
            print(f"without FlashAttention 3: {e}", flush=True)
            args.who.remove("fa3")
    torch.set_grad_enabled(False)
    ours = Ours(args.library) if {"lariat", "op"} & set(args.who) else None
    card, yard, results, failed = torch.cuda.get_device_name(0), yardsticks(args), {}, False
    lines = [f"{card}, CUDA {torch.version.cuda}, PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}; medians (least to "
             f"most) of up to {args.rounds} rounds; burst after {args.idle} s idle; steady: {args.warm} s warm, {args.measure} s measured", ""]
    lines += [f"{name}: {value:.0f}" for name, value in yard.items()]
    lines += ["", "| shape | who | unit | burst | steady | ours / this, burst | steady | worst row | largest difference |",
              "|---|---|---|---|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    for i, name in enumerate(args.shapes):
        now = time.monotonic()
        share = (args.budget - (now - START)) / (len(args.shapes) - i)
        results[name], wrong = bench_shape(name, ours, fa3, args, now + share)
        failed |= wrong
        for who, r in results[name].items():
            lines.append(table_row(name, who, r))
            print(lines[-1], flush=True)
        torch.cuda.empty_cache()
        # After each shape, so that a run that is stopped leaves what it had.
        if args.out:
            with open(args.out, "w") as f:
                f.write("\n".join(lines) + "\n")
        if args.json:
            with open(args.json, "w") as f:
                json.dump({"card": card, "yardsticks": yard, "results": results}, f, indent=1)
    print(f"{time.monotonic() - START:.0f} s in all")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
