#!/usr/bin/env python3
"""What happens when a process of a ring dies, stops or is cut off, at a random moment: nobody hangs, and a line says who it
was.
Rests on cluster.py. scripts/faults.sh runs all of it; CI a few.
  faults.py --lariat PROGRAM --model MODEL [--mpi openmpi] [--kills N] [--stops N] [--links N] [--timeout S] [--seed N]
            [--table] [--resume FILE.jsonl]
N faults of a kind come in time; one that comes when its run has ended is tried again with the next seed, N times in all. A
failure is printed with its seed; exit status 1, or 77 where nothing can be tried here. --resume keeps what was seen, one line a
fault: a later run with the same arguments goes on behind it."""
import argparse
import json
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
SEEDS = {"kill": 0, "stop": 5000, "link": 8000}  # where those of a kind begin, of 10000 of a campaign


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
        self.found, self.after = [], None  # seconds from the start to the fault

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
        until = run.started + self.at * self.args.whole_s[self.processes, self.writes]
        time.sleep(max(0.0, until - time.monotonic()))
        self.after = time.monotonic() - run.started
        if run.mpirun.poll() is not None:
            return False
        if self.kind == "link":
            self.hosts.cut(self.victim)
            return True
        members = run.members()
        return self.victim in members and cluster.send(members[self.victim],
                                                       signal.SIGKILL if self.kind == "kill" else signal.SIGSTOP)

    def named_as(self, run):
        """What the run says of the process, "": nothing."""
        err = run.text("err")
        lines = [line for line in err.splitlines() if line.startswith("lariat: ")]
        whom = r"rank \d+ \(" if self.kind == "link" else rf"rank {self.victim} \("  # each side of a link misses the other
        for line in lines:
            if re.search(whom + "|not all processes have", line):
                match = re.search(r"while (.*)$", line) or re.search(r"(not all processes have \w+)", line)
                return match.group(1) if match else "ended by itself"
        # While MPI starts, only the launcher knows who there is. It ends the others at once, so its own message stands.
        if lines or self.kind != "kill":
            return ""
        if self.launcher_waits:
            return "by nobody: mpirun waits though all have ended"
        if re.search(rf"process rank {self.victim} .*signal 9|KILLED BY SIGNAL: 9", err):
            return "by the launcher alone"
        return "by the launcher alone, without its number" if "a non-zero exit code" in err else ""

    def judge(self, run, took, folder):
        """Appends to self.found what is wrong."""
        err, out, status = run.text("err"), run.text("out"), run.mpirun.returncode
        if took is None:
            self.found.append(f"still there after {self.limit()} s: {self.left}")
            return
        if status == 0 and not self.done(out, folder):
            self.found.append("exit status 0, but not all was made")
        if status != 0 and not self.named:
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
            self.whole_s = time.monotonic() - run.started
            self.left = sorted(run.members())
            self.launcher_waits = took is None and not self.left
            took = self.limit() if self.launcher_waits else took
            run.kill()
            self.named = self.named_as(run)
            self.judge(run, took, folder)
            if self.hosts:
                self.hosts.mend(self.victim)
            return struck, took

    def describe(self):
        return (f"seed {self.seed}: {self.kind} of process {self.victim} of {self.processes} at {self.at:.2f} of the run"
                f"{', logits' if self.writes else ''}")


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
        for writes in (False, True):
            command = ["logits", "--out", whole] if writes else ["generate", "-n", str(args.n)]
            run = cluster.Run(args.mpi, n, [args.lariat, *command, "-q", "-m", args.model, "--tokens", args.ids, "-t", "1"])
            took = run.wait_end(120)
            if run.mpirun.returncode != 0 or took is None:
                sys.exit(f"faults.py: a run of {n} processes without a fault: {run.text('err')}")
            args.whole_s[n, writes] = took


class Campaign:
    """What was seen: a list of {seed, kind, processes, victim, at, after, struck, took, named, found}, one of each fault."""

    def __init__(self, args):
        self.args, self.seen, self.short = args, [], False
        if args.resume and os.path.exists(args.resume):
            with open(args.resume) as file:
                self.seen = [json.loads(line) for line in file if line.endswith("\n")]

    def one(self, kind, seed, hosts):
        trial = Trial(self.args, kind, seed, hosts)
        struck, took = trial.run()
        print(f"{trial.describe()}: {'%.1f s' % took if took is not None else 'hangs'}{'' if struck else ', came too late'}"
              f": {trial.named}", flush=True)
        for what in trial.found:
            print(f"FAILED: {what}", flush=True)
        if not struck and took is not None:  # the machine is less busy than it was
            self.args.whole_s[trial.processes, trial.writes] = trial.whole_s
        self.seen.append({"seed": seed, "kind": kind, "processes": trial.processes, "victim": trial.victim, "at": trial.at,
                          "after": trial.after, "struck": struck, "took": took, "named": trial.named, "found": trial.found})
        if self.args.resume:
            with open(self.args.resume, "a") as file:
                file.write(json.dumps(self.seen[-1]) + "\n")

    def struck(self, kind):
        return [s for s in self.seen if s["kind"] == kind and s["struck"]]

    def kind(self, kind, wanted, hosts=None):
        first = self.args.seed * 10000 + SEEDS[kind]
        done = {s["seed"] for s in self.seen}
        for seed in range(first, first + 2 * wanted):
            if len(self.struck(kind)) >= wanted:
                return
            if seed not in done:
                self.one(kind, seed, hosts)
        if len(self.struck(kind)) < wanted:
            print(f"FAILED: of {wanted} faults ({kind}) only {len(self.struck(kind))} came in time")
            self.short = True

    def table(self):
        rows = {}
        for s in self.seen:
            if s["struck"]:
                rows.setdefault((s["kind"], s["named"] or "NOT"), []).append(s)
        print("\n| fault | named as | times | s after the start | longest until all had ended, s |\n|---|---|---|---|---|")
        for (kind, named), all_of in sorted(rows.items()):
            after = [s["after"] for s in all_of]
            took = max(float("inf") if s["took"] is None else s["took"] for s in all_of)
            print(f"| {kind} | {named} | {len(all_of)} | {min(after):.1f} to {max(after):.1f} | {took:.1f} |")
        late = sum(not s["struck"] for s in self.seen)
        wrong = sum(bool(s["found"]) for s in self.seen)
        print(f"\n{len(self.seen) - late} in time, {late} too late, {wrong} not as they must be")

    def status(self):
        return 1 if self.short or any(s["found"] for s in self.seen) else 0


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
    parser.add_argument("--table", action="store_true", help="a table of what was seen, for bench/results/faults.md")
    parser.add_argument("--resume", help="a file that keeps what was seen")
    args = parser.parse_args()
    if not cluster.launcher(args.mpi) or not os.path.exists(args.model):
        print(f"skipped: no {args.mpi} here" if not cluster.launcher(args.mpi) else f"skipped: {args.model} is not here")
        return 77
    campaign = Campaign(args)
    prepare(args)
    campaign.kind("kill", args.kills)
    campaign.kind("stop", args.stops)
    if args.links:
        why = cluster.hosts_possible()
        if why:
            print(f"skipped: {why}")
            return 77 if args.kills + args.stops == 0 else campaign.status()
        with cluster.Hosts(2) as hosts:
            campaign.kind("link", args.links, hosts)
    if args.table:
        campaign.table()
    return campaign.status()


if __name__ == "__main__":
    sys.exit(main())
