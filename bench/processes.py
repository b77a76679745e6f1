#!/usr/bin/env python3
"""A ring over two processes beside the same ring in one, on two cores: what MPI costs; and distributed-llama in the same run.

  bench/processes.py [--peer FOLDER] [--lariat PROGRAM] [--model FILE.gguf] [--mpi openmpi|mpich] [--reps N] [PART ...]

Parts, all by default, peer only with --peer:

  prefill    2 processes x 1 thread over 2 ranks x 1 thread in one process, at each of --lengths; hidden share of the hops
  hops       hops of keys between two processes against plain messages of the MPI in the same pattern, by size
  decode     2 processes x 1 thread over one process with 2 threads, through shared memory and (Open MPI) through TCP
  messages   what a token takes more in 2 processes than with 2 threads and than in 2 ranks of one process, and its all-gathers
             by themselves, in units of the raw latency of the messages that it needs one after the other: five all-gathers a
             layer, those of the logits and of a pass's begin, and the command
  peer       random:3.2-1b in 4 bits, two processes with one thread each, 501 tokens of prompt and 64 new ones, against
             distributed-llama over loopback. FOLDER holds its program dllama (github.com/b4rtaz/distributed-llama, built
             outside the tree with make dllama); its model, of the same shape with random blocks, is made in a temporary
             folder: 1.8 GB

Every figure is the median of --reps rounds in which all contenders take turns; ratios are medians of the rounds' ratios.
"""
import json, os, random, re, shutil, statistics, struct, subprocess, sys, tempfile, time

import contest

PARTS = ["prefill", "hops", "decode", "messages", "peer"]
SHAPE = {"dim": 2048, "hidden_dim": 8192, "n_layers": 16, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256, "head_dim": 64}
PROMPT, REPLY, PORT = 501, 64, 19990


def run(command, **env):
    return contest.run(command, LARIAT_DEVICE="cpu", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", **env)


class Bench:
    def __init__(self, args):
        self.args = args
        self.mpirun = [f"mpirun.{args.mpi}", "-n", "2"] + (["--bind-to", "none"] if args.mpi == "openmpi" else [])

    def lariat(self, processes, model, *options, **env):
        """A row of lariat bench: of two processes with a thread each, or of one with two threads."""
        words = self.mpirun if processes == 2 else []
        words = words + [self.args.lariat, "bench", "-q", "-m", model, "-r", "1", "-o", "json"]
        return json.loads(run(words + ["-t", "1" if processes == 2 else "2", *options], **env))[0]

    def turns(self, contenders):
        return contest.take_turns(contenders, self.args.reps)

    def report(self, part, what, **figures):
        print(f"| {part} | {what} | " + ", ".join(f"{k} {v:.3g}" for k, v in figures.items()) + " |", flush=True)

    def prefill(self):
        for n in self.args.lengths.split(","):
            options = ("-p", n, "-n", "0")
            got = self.turns({"two": lambda: self.lariat(2, self.args.model, *options),
                              "one": lambda: self.lariat(1, self.args.model, "--ranks", "2", *options)})
            self.report("prefill", f"{n} tokens, 2 processes over 2 ranks in one", **ratio(got, "two", "one", "prefill_tps"),
                        hidden=median(got["two"], "hidden_share"))

    def hop_rows(self):
        return json.loads(run(self.mpirun + [self.args.lariat, "bench", "--hops", "-t", "1", "-r", "15", "-o", "json"]))

    def hops(self):
        rounds = [self.hop_rows() for _ in range(self.args.reps)]
        for i, row in enumerate(rounds[0]):
            if row["kind"] == "keys":
                at = [r[i] for r in rounds]
                self.report("hops", f"{row['bytes']} bytes", hop_us=median(at, "time_us"), mpi_us=median(at, "mpi_us"),
                            ping_us=median(at, "ping_us"), mpi_over_hop=median(at, "of_mpi"))

    def decode_contenders(self):
        options = ("-p", "64", "-n", "128", "--layout", "slices")
        tcp = {"OMPI_MCA_btl": "tcp,self", "OMPI_MCA_pml": "ob1"}
        contenders = {"two": lambda: self.lariat(2, self.args.model, *options),
                      "one": lambda: self.lariat(1, self.args.model, "--ranks", "1", "-p", "64", "-n", "128")}
        if self.args.mpi == "openmpi":
            contenders["tcp"] = lambda: self.lariat(2, self.args.model, *options, **tcp)
        return contenders

    def decode(self):
        got = self.turns(self.decode_contenders())
        self.report("decode", "2 processes over 2 threads", **ratio(got, "two", "one", "decode_tps"))
        if "tcp" in got:
            self.report("decode", "the same through TCP", **ratio(got, "tcp", "one", "decode_tps"))

    def messages(self):
        layers = json.loads(run([self.args.lariat, "inspect", "--json", self.args.model]))["n_layers"]
        contenders = self.decode_contenders()
        got = self.turns({"two": contenders["two"], "one": contenders["one"], "hops": self.hop_rows, "ranks": lambda: self.lariat(
            1, self.args.model, "--ranks", "2", "-p", "64", "-n", "128", "--layout", "slices")})

        def latency(what):
            small, large = (statistics.median(r[what] for rows in got["hops"] for r in rows
                                              if r["kind"] == "gather" and r["bytes"] == size) for size in (4096, 262144))
            return (5 * layers + 2) * small + large

        def added(over):
            return statistics.median(a["token_ms"] - b["token_ms"] for a, b in zip(got["two"], got[over])) * 1000

        raw, gathers = latency("ping_us"), latency("time_us")
        self.report("messages", f"a token: {5 * layers + 2} of some KB, 1 of the logits", raw_us=raw, over_threads_us=added("one"),
                    over_ranks_us=added("ranks"), gathers_us=gathers, threads_ratio=added("one") / raw,
                    ranks_ratio=added("ranks") / raw, gathers_ratio=gathers / raw)

    def peer(self):
        with tempfile.TemporaryDirectory() as folder:
            model, tokenizer = os.path.join(folder, "model.m"), os.path.join(folder, "tokenizer.t")
            write_model(model)
            write_tokenizer(tokenizer)
            options = ("-p", str(PROMPT), "-n", str(REPLY))
            got = self.turns({"two": lambda: self.lariat(2, "random:3.2-1b:Q4_0", *options),
                              "peer": lambda: self.dllama(model, tokenizer)})
        for what in ("prefill_tps", "decode_tps"):
            self.report("peer", what, **ratio(got, "two", "peer", what))

    def dllama(self, model, tokenizer):
        program = os.path.join(self.args.peer, "dllama")
        worker = subprocess.Popen([program, "worker", "--port", str(PORT), "--nthreads", "1"], stdout=subprocess.DEVNULL)
        try:
            time.sleep(1)
            out = run([program, "inference", "--model", model, "--tokenizer", tokenizer, "--buffer-float-type", "q80",
                       "--nthreads", "1", "--workers", f"127.0.0.1:{PORT}", "--max-seq-len", "1024", "--temperature", "0",
                       "--steps", str(PROMPT + REPLY), "--prompt", "x" * PROMPT])
        finally:
            worker.kill()
            worker.wait()
        figures = re.findall(r"tokens/s: ([\d.]+)", out)
        if len(figures) != 2:
            sys.exit(f"processes.py: dllama printed {out[-500:]!r}")
        return {"prefill_tps": float(figures[0]), "decode_tps": float(figures[1])}


def median(rows, key):
    return statistics.median(row[key] for row in rows)


def ratio(got, a, b, key):
    return {a: median(got[a], key), b: median(got[b], key),
            "ratio": statistics.median(x[key] / y[key] for x, y in zip(got[a], got[b]))}


def write_model(path):
    """The peer's form of a model: a header of pairs, then tensors in a fixed order; blocks are random, of one pool."""
    s, draw = SHAPE, random.Random(1)
    pool = b"".join(struct.pack("<e", 2e-3) + draw.randbytes(16) for _ in range(1 << 14))
    floats = struct.pack("<4096f", *(draw.uniform(-1, 1) for _ in range(4096)))
    keys = [(0, 0), (1, 0xABCD00), (2, s["dim"]), (3, s["hidden_dim"]), (4, s["n_layers"]), (5, s["n_heads"]),
            (6, s["n_kv_heads"]), (7, 0), (8, 0), (9, s["vocab_size"]), (10, 8192), (11, 1), (12, 500000), (13, 2), (14, 32),
            (15, 1), (16, 4), (17, 8192), (18, 2), (19, s["head_dim"]), (20, 5)]
    kv = s["n_kv_heads"] * s["head_dim"]
    with open(path, "wb") as file:
        file.write(struct.pack("<ii", 0xA00ABCD, 8 + 8 * len(keys)) + b"".join(struct.pack("<ii", *k) for k in keys))

        def matrix(rows, cols):
            fill(pool, rows * cols // 32 * 18)

        def fill(pattern, size):
            for at in range(0, size, len(pattern)):
                file.write(pattern[:size - at])

        fill(floats, 4 * s["vocab_size"] * s["dim"])
        for _ in range(s["n_layers"]):
            for rows, cols in ((s["dim"], s["dim"]), (kv, s["dim"]), (kv, s["dim"]), (s["dim"], s["dim"]),
                               (s["hidden_dim"], s["dim"]), (s["dim"], s["hidden_dim"]), (s["hidden_dim"], s["dim"])):
                matrix(rows, cols)
            fill(struct.pack("<f", 1), 4 * 2 * s["dim"])
        fill(struct.pack("<f", 1), 4 * s["dim"])
        matrix(s["vocab_size"], s["dim"])


def write_tokenizer(path):
    """A vocabulary in which each printable letter is a token and no two are one."""
    n, bos = SHAPE["vocab_size"], 128000
    words = [bytes([i]) if 32 <= i < 127 else b"\1%06d" % i for i in range(bos)]
    words += [b"\2%06d" % i for i in range(bos, n)]
    keys = [(0, 1), (1, n), (2, max(map(len, words))), (3, bos), (9, 1), (10, 1)]
    with open(path, "wb") as file:
        file.write(struct.pack("<ii", 0x567124, 8 + 8 * len(keys)) + b"".join(struct.pack("<ii", *k) for k in keys))
        file.write(struct.pack("<i", bos + 1))
        for word in words:
            file.write(struct.pack("<fI", 0, len(word)) + word)


def main():
    parser = contest.parser_of(__doc__, "dllama", PARTS)
    parser.add_argument("--mpi", default="openmpi")
    parser.add_argument("--lengths", default="4096,8192")
    args = contest.parse(parser, PARTS, PARTS[:-1])
    if not shutil.which(f"mpirun.{args.mpi}"):
        parser.error(f"no mpirun.{args.mpi} here")
    bench = Bench(args)
    version = run([args.lariat, "--version"]).strip()
    print(f"{contest.cpu_name()}, {os.cpu_count()} cores; {version}; load {os.getloadavg()[0]:.1f} at the start")
    for part in args.parts:
        getattr(bench, part)()
    print(f"load {os.getloadavg()[0]:.1f} at the end, of which the benchmark is 2")


main()
