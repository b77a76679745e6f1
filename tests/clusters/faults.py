#!/usr/bin/env python3
"""What happens when a process of a ring dies, stops or is cut off, at a random moment: nobody hangs, and a line says who it was.
Rests on cluster.py. scripts/faults.sh runs all of it; CI a few.
  faults.py --lariat PROGRAM --model MODEL [--mpi openmpi] [--kills N] [--stops N] [--links N] [--timeout S] [--seed N] [--table]
A failure is printed with its seed; exit status 1, or 77 where nothing can be tried here."""
import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

import cluster

END_S = 10  # after a kill
MARGIN_S = 4  # beyond the timeout, for the launcher to end the rest


class Trial:
    """One fault in one run."""

    def __init__(self, args, kind, seed, hosts=None):
        self.args, self.kind, self.hosts = args, kind, hosts
        draw = self.draw = random.Random(seed)
        self.seed = seed
        self.processes = len(hosts.names) if hosts else draw.randint(2, 6)
        self.victim = draw.randrange(self.processes)
        self.writes = kind != "link" and draw.random() < 0.3  # logits to a file
        self.at = draw.random()
        self.found = []

    def command(self, folder):
        a = self.args
        common = ["-m", a.model, "-t", "1", "--timeout", str(a.timeout), "-q"]
        if self.writes:
            return [a.lariat, "logits", "--tokens", a.ids, "--out", os.path.join(folder, "out.safetensors")] + common
        return [a.lariat, "generate", "--tokens", a.ids, "-n", str(a.n)] + common

    def limit(self):
        return END_S if self.kind == "kill" else self.args.timeout + MARGIN_S

    def strike(self, run):
        """Waits for the moment, then does it. False: the run had ended before."""
        members = run.wait_members(self.processes)
        if len(members) < self.processes:
            return False
        # Moments from the first process on until the run would end.
        until = run.started + self.at * self.args.whole_s[self.processes]
        time.sleep(max(0.0, until - time.monotonic()))
        if run.mpirun.poll() is not None:
            return False
        if self.kind == "link":
            self.hosts.cut(self.victim)
            return True
        members = run.members()
        return self.victim in members and cluster.send(members[self.victim],
                                                       signal.SIGKILL if self.kind == "kill" else signal.SIGSTOP)

    def judge(self, run, took, folder):
        """Appends to self.found what is wrong."""
        err, out, status = run.text("err"), run.text("out"), run.mpirun.returncode
        if took is None:
            self.found.append(f"still there after {self.limit()} s: {sorted(run.members())}")
            return
        # Where no process has said it, the launcher's own message must.
        lines = [line for line in err.splitlines() if line.startswith("lariat: ")]
        whom = r"rank \d+ \(" if self.kind == "link" else rf"rank {self.victim} \("  # each side of a link misses the other
        named = (any(re.search(whom + "|not all processes have", line) for line in lines) if lines else
                 self.kind == "kill" and re.search(r"signal 9|KILLED BY SIGNAL", err))
        if status == 0 and not self.done(out, folder):
            self.found.append("exit status 0, but not all was made")
        if status != 0 and not named:
            self.found.append(f"no line says who it was: {err!r}")
        if not self.writes and not self.args.expected.startswith(out.strip()):
            self.found.append(f"other tokens than without a fault: {out!r}")
        whole = os.path.join(folder, "out.safetensors")
        if self.writes and os.path.exists(whole) and os.path.getsize(whole) != self.args.logits_size:
            self.found.append("a part of a file under the name of the whole")

    def done(self, out, folder):
        return os.path.exists(os.path.join(folder, "out.safetensors")) if self.writes else out.strip() == self.args.expected

    def run(self):
        """(what was seen, seconds until all had ended)"""
        with tempfile.TemporaryDirectory() as folder:
            run = cluster.Run(self.args.mpi, self.processes, self.command(folder), self.hosts)
            struck = self.strike(run)
            # Open MPI's mpirun waits for a host that was cut off for ever.
            took = run.wait_end(self.limit() if struck else 120, self.kind != "link" or not struck)
            run.kill()
            self.judge(run, took, folder)
            lines = [line for line in run.text("err").splitlines() if line.startswith("lariat: ")]
            if self.hosts:
                self.hosts.mend(self.victim)
            self.line = lines[0] if lines else ""
            return struck, took

    def describe(self):
        return (f"seed {self.seed}: {self.kind} of process {self.victim} of {self.processes} at {self.at:.2f} of the run"
                f"{', logits' if self.writes else ''}")


def phase_of(line):
    """What the process was doing, by the line that names it."""
    match = re.search(r"while (.*)$", line) or re.search(r"(not all processes have \w+)", line)
    return match.group(1) if match else "named by the launcher" if not line else "ended by itself"


def prepare(args):
    """Token ids of README.md, the undisturbed output, and how long a run takes."""
    folder = tempfile.mkdtemp()
    args.ids = os.path.join(folder, "ids")
    readme = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../README.md")
    out, err, status = cluster.plain([args.lariat, "tokenize", "-m", args.model, "-f", readme])
    if status:
        sys.exit(f"faults.py: {err}")
    with open(args.ids, "w") as file:
        file.write(" ".join(out.split()[:args.prompt]))
    out, err, status = cluster.plain([args.lariat, "generate", "-q", "-m", args.model, "--tokens", args.ids, "-n", str(args.n)])
    if status:
        sys.exit(f"faults.py: {err}")
    args.expected = out.strip()
    whole = os.path.join(folder, "whole.safetensors")
    cluster.plain([args.lariat, "logits", "-q", "-m", args.model, "--tokens", args.ids, "--out", whole])
    args.logits_size = os.path.getsize(whole)
    args.whole_s = {}
    for n in range(2, 7):
        run = cluster.Run(args.mpi, n, [args.lariat, "generate", "-q", "-m", args.model, "--tokens", args.ids, "-n", str(args.n),
                                        "-t", "1"])
        took = run.wait_end(120)
        if run.mpirun.returncode != 0 or took is None:
            sys.exit(f"faults.py: a run of {n} processes without a fault: {run.text('err')}")
        args.whole_s[n] = time.monotonic() - run.started


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lariat", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--mpi", default="openmpi")
    for kind in ("kills", "stops", "links"):
        parser.add_argument("--" + kind, type=int, default=0)
    parser.add_argument("--prompt", type=int, default=400)
    parser.add_argument("-n", type=int, default=40)
    parser.add_argument("--timeout", type=float, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="a table of what was seen, for docs/faults.md")
    args = parser.parse_args()
    if not cluster.launcher(args.mpi) or not os.path.exists(args.model):
        print(f"skipped: no {args.mpi} here" if not cluster.launcher(args.mpi) else f"skipped: {args.model} is not here")
        return 77
    prepare(args)
    kinds = ["kill"] * args.kills + ["stop"] * args.stops
    seen, failed = {}, 0

    def one(kind, seed, hosts=None):
        trial = Trial(args, kind, seed, hosts)
        struck, took = trial.run()
        print(f"{trial.describe()}: {'%.1f s' % took if took is not None else 'hangs'}{'' if struck else ', came too late'}"
              f": {trial.line}", flush=True)
        for what in trial.found:
            print(f"FAILED: {what}", flush=True)
        if struck:
            seen.setdefault((kind, phase_of(trial.line)), []).append(took if took is not None else float("inf"))
        return bool(trial.found)

    for i, kind in enumerate(kinds):
        failed += one(kind, args.seed * 1000 + i)
    if args.links:
        why = cluster.hosts_possible()
        if why:
            print(f"skipped: {why}")
            return 77 if not kinds else 1 if failed else 0
        with cluster.Hosts(2) as hosts:
            for i in range(args.links):
                failed += one("link", args.seed * 1000 + 500 + i, hosts)
    tried = args.kills + args.stops + args.links
    if sum(map(len, seen.values())) * 2 < tried:
        print(f"FAILED: of {tried} faults only {sum(map(len, seen.values()))} came in time")
        failed += 1
    if args.table:
        print("\n| fault | named as | times | longest until all had ended, s |\n|---|---|---|---|")
        for (kind, phase), times in sorted(seen.items()):
            print(f"| {kind} | {phase} | {len(times)} | {max(times):.1f} |")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
