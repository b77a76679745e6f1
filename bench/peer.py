#!/usr/bin/env python3
"""Lariat beside llama.cpp on the same model, threads and machine, in the same run, as ratios.

  bench/peer.py --peer FOLDER [--lariat PROGRAM] [--model FILE.gguf] [PART ...]

FOLDER holds llama.cpp's llama-bench and llama-quantize (PyPI's source package llama-cpp-python 0.3.36 carries it; build it
outside the tree); without it only ring and start run. The model is the demo's unless named (scripts/fetch-model.sh). Parts, all by default:

  types      prefill of 512 and decode for the types of TYPES (made from the model by llama-quantize; the others: bench_linear)
  long       prefill of 4,096 of the model as it is
  ring       two ranks of one thread against one rank of two; the peer has no ring of CPUs in one machine
  neighbour  decode while another process keeps one core busy, 2 threads and 1
  start      a process from its start over one token read to its end, and its resident memory beyond the file; the peer is
             llama-bench -p 1 -n 0 -r 1 --no-warmup, which reads one token too, into a cache no larger than that (ours: 2,048)
  members    prefill and decode of a file of random blocks for eight members of the family (not gemma and glm4) and each type
             (member_files.py, which needs numpy); ours decodes after the first prompt, the peer after none. Only if named. With
             --device cuda both run on one GPU

Every figure is the median of --reps rounds in which all contenders take turns; ratios are of medians. A table goes to standard
output, the same as JSON to --out.
"""
import json, os, re, signal, statistics, subprocess, sys, tempfile, time

from contest import cpu_name, parse, parser_of, run, take_turns

TYPES = ["Q4_1", "Q4_0", "Q5_0", "Q5_1", "Q8_0", "Q4_K_M", "Q6_K", "F16", "BF16", "F32"]
PARTS = ["types", "long", "ring", "neighbour", "start"]
MEMBERS = "members"  # a part only if named


class Bench:
    def __init__(self, args):
        self.args, self.rows = args, []
        self.peer = os.path.join(args.peer, "llama-bench") if args.peer else None

    def lariat(self, model, prompt, gen, threads=2, ranks=1):
        row = json.loads(run([self.args.lariat, "bench", "-q", "-m", model, "-p", str(prompt), "-n", str(gen), "-r", "1",
                              "-t", str(threads), "--ranks", str(ranks), "-o", "jsonl"]))
        return row["decode_tps"] if gen else row["prefill_tps"]

    def llama(self, model, prompt, gen, threads=2):
        rows = json.loads(run([self.peer, "-m", model, "-p", str(prompt), "-n", str(gen), "-r", "1", "-t", str(threads), "-o", "json"]))
        return rows[0]["avg_ts"]

    def medians(self, contenders):
        return {name: statistics.median(v) for name, v in take_turns(contenders, self.args.reps).items()}

    def share(self, model, prompt, gen):
        row = json.loads(run([self.args.lariat, "bench", "-q", "-m", model, "-p", str(prompt), "-n", str(gen), "-r", "3", "-t", "2",
                              "-o", "jsonl"]))
        return row["ceiling_share"]

    def report(self, part, what, **figures):
        self.rows.append({"part": part, "what": what, **figures})
        print(f"| {part} | {what} | " + " | ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items()) + " |", flush=True)

    def against_peer(self, part, what, model, prompt, gen):
        got = self.medians({"lariat": lambda: self.lariat(model, prompt, gen), "peer": lambda: self.llama(model, prompt, gen)})
        self.report(part, what, lariat=got["lariat"], peer=got["peer"], ratio=got["lariat"] / got["peer"],
                    ceiling_share=self.share(model, prompt, gen))

    def types(self):
        quantize = os.path.join(self.args.peer, "llama-quantize")
        with tempfile.TemporaryDirectory() as folder:
            for type_ in self.args.types.split(","):
                model = self.args.model
                if type_ != "Q4_1":
                    model = os.path.join(folder, type_ + ".gguf")
                    run([quantize, "--allow-requantize", self.args.model, model, type_])
                self.against_peer("types", f"{type_} prefill 512", model, 512, 0)
                self.against_peer("types", f"{type_} decode", model, 0, 64)
                if model != self.args.model:
                    os.remove(model)

    def long(self):
        self.against_peer("long", "prefill 4096", self.args.model, 4096, 0)

    def ring(self):
        for what, prompt, gen in (("prefill 4096", 4096, 0), ("decode", 0, 128)):
            got = self.medians({f"ranks{n}": lambda n=n: self.lariat(self.args.model, prompt, gen, 2, n) for n in (1, 2)})
            self.report("ring", f"{what}, 2 ranks of 1 thread over 1 rank of 2", two=got["ranks2"], one=got["ranks1"],
                        ratio=got["ranks2"] / got["ranks1"], peer="has no ring")

    def members(self):
        from member_files import SHAPES, write  # numpy

        args, prompts = self.args, self.args.prompts.split(",")
        cuda = args.device == "cuda"

        def lariat(model):
            rows = run([args.lariat, "bench", "-q", "-m", model, "-p", args.prompts, "-n", "32", "--ranks", "1", "-o", "jsonl",
                        *(["--device", "cuda", "-r", "3"] if cuda else ["--device", "cpu", "-r", "1", "-t", "2"])])
            rows = [json.loads(row) for row in rows.splitlines()]
            return [row["prefill_tps"] for row in rows] + [rows[0]["decode_tps"]]

        def llama(model):
            rows = json.loads(run([self.peer, "-m", model, "-p", args.prompts, "-n", "32", "-o", "json",
                                   *(["-ngl", "99", "-fa", "1", "-ub", "2048", "-r", "3"] if cuda else ["-r", "1", "-t", "2"])]))
            return [statistics.median(row["samples_ts"]) for row in rows]

        with tempfile.TemporaryDirectory() as folder:
            model = os.path.join(folder, "member.gguf")
            for name in args.members.split(",") if args.members else SHAPES:
                for type_ in args.member_types.split(","):
                    layers = write(model, name, type_, args.layers)
                    got = take_turns({"lariat": lambda: lariat(model), "peer": lambda: llama(model)}, args.reps)
                    for i, what in enumerate([f"prefill {p}" for p in prompts] + ["decode"]):
                        ours, peer = (statistics.median(v[i] for v in got[who]) for who in ("lariat", "peer"))
                        self.report("members", f"{name} {type_}, {layers} of {SHAPES[name][1]} layers, {what}", lariat=ours,
                                    peer=peer, ratio=ours / peer)

    def neighbour(self):
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            model = self.args.model
            contenders = {f"lariat{t}": lambda t=t: self.lariat(model, 0, 128, t) for t in (1, 2)}
            contenders.update({f"peer{t}": lambda t=t: self.llama(model, 0, 128, t) for t in (1, 2)})
            got = self.medians(contenders)
        finally:
            busy.send_signal(signal.SIGKILL)
            busy.wait()
        self.report("neighbour", "decode, 2 threads over 1", lariat2=got["lariat2"], lariat1=got["lariat1"],
                    ratio=got["lariat2"] / got["lariat1"], peer_ratio=got["peer2"] / got["peer1"])

    def start(self):
        model, resident = self.args.model, {"lariat": [], "peer": []}

        def whole(name, command):
            begin = time.monotonic()
            child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(child.pid, 0)
            if status:
                sys.exit(f"peer.py: {' '.join(command)}: ended with status {status}")
            resident[name].append((usage.ru_maxrss * 1024 - os.path.getsize(model)) / 1e6)
            return time.monotonic() - begin

        contenders = {"lariat": lambda: whole("lariat", [self.args.lariat, "generate", "-m", model, "-p", "Hello", "-n", "1",
                                                         "-t", "2", "-c", "2048"])}
        if self.peer:
            contenders["peer"] = lambda: whole("peer", [self.peer, "-m", model, "-p", "1", "-n", "0", "-r", "1", "--no-warmup",
                                                        "-t", "2"])
        got = self.medians(contenders)
        figures = {f"{name}_s": seconds for name, seconds in got.items()}
        figures.update({f"{name}_resident_beyond_file_mb": statistics.median(resident[name]) for name in got})
        self.report("start", "one token read, start and exit included", **figures)


def machine():
    flags = next((l for l in open("/proc/cpuinfo") if l.startswith("flags")), "")
    special = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if re.search(rf"\b{f}\b", flags)]
    return {"cpu": cpu_name(), "cores": os.cpu_count(), "flags": special, "date": time.strftime("%Y-%m-%d")}


def main():
    parser = parser_of(__doc__, "llama-bench and llama-quantize", PARTS)
    parser.add_argument("--types", default=",".join(TYPES), help="those of the part types, with commas between")
    parser.add_argument("--members", help="those of the part members (default: all)")
    parser.add_argument("--member-types", default="Q8_0,Q4_K", help="types of their files")
    parser.add_argument("--layers", type=int, default=0, help="at most so many layers in them (default: all)")
    parser.add_argument("--prompts", default="128,512", help="lengths of their prompts")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where they run")
    parser.add_argument("--out", help="JSON file for the results")
    args = parse(parser, PARTS + [MEMBERS], ["ring", "start"])
    bench = Bench(args)
    about = machine()
    print(f"{about['cpu']}, {about['cores']} cores, {' '.join(about['flags'])}; {run([args.lariat, '--version']).strip()}")
    for part in args.parts:
        getattr(bench, part)()
    if args.out:
        with open(args.out, "w") as f:
            json.dump({"machine": about, "reps": args.reps, "rows": bench.rows}, f, indent=1)


main()
