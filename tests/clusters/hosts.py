#!/usr/bin/env python3
"""A ring over hosts: two and four network namespaces with their own addresses and no shared memory, on links that are fast or slow.
Rests on cluster.py. The output must be that of a ring of as many ranks in one process; what of the communication stayed hidden is
printed beside bytes and bandwidth.
  hosts.py --lariat PROGRAM --model MODEL --tokens FILE [-n N] [--hosts 2,4] [--rates none,1gbit,100mbit] [--delay-ms 10] [OPTION...]
OPTIONs go to lariat generate. Exit status 77 where there can be no hosts."""
import argparse
import fcntl
import heapq
import json
import os
import select
import struct
import sys
import tempfile
import threading
import time

import cluster


class Relay:
    """Two hosts joined by a program that delivers each packet after a while: for kernels without netem. A context."""

    TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000

    def __init__(self, hosts, delay_s):
        self.hosts, self.delay_s, self.ends, self.over = hosts, delay_s, [], False

    def __enter__(self):
        for i, name in enumerate(self.hosts.names):
            end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(end, self.TUNSETIFF, struct.pack("16sH22x", f"{name}t".encode(), self.IFF_TUN | self.IFF_NO_PI))
            self.ends.append(end)
            cluster.call(f"ip -n {name} link del eth")
            cluster.call(f"ip link set {name}t netns {name} name eth")
            cluster.call(f"ip -n {name} addr add {self.hosts.addresses[i]}/24 dev eth")
            cluster.call(f"ip -n {name} link set eth mtu 60000 up")
        self.thread = threading.Thread(target=self.carry)
        self.thread.start()
        return self

    def carry(self):
        waiting, count = [], 0
        while not self.over:
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                _, _, to, packet = heapq.heappop(waiting)
                try:
                    os.write(to, packet)
                except OSError:
                    pass  # a full queue drops packets, as a network does
            wait = min(0.1, waiting[0][0] - now) if waiting else 0.1
            for end in select.select(self.ends, [], [], max(0, wait))[0]:
                try:
                    packet = os.read(end, 65535)
                except OSError:
                    continue
                to = self.ends[1 - self.ends.index(end)]
                count += 1
                heapq.heappush(waiting, (time.monotonic() + self.delay_s, count, to, packet))

    def __exit__(self, *_):
        self.over = True
        self.thread.join()
        for end in self.ends:
            os.close(end)


def words(args, *more):
    """On a machine with much other work it may take a minute until all processes have started."""
    return [args.lariat, "generate", "-m", args.model, "--tokens", args.tokens, "-n", str(args.n), "--timeout", "300",
            *args.options, *more]


def one(args, what, hosts):
    """A run over these hosts against one process. True: as it must be."""
    n = len(hosts.names)
    expected, err, status = cluster.plain(words(args, "-q", "--ranks", str(n), "-t", str(n)))
    if status:
        sys.exit(f"hosts.py: {err}")
    run = cluster.Run(args.mpi, n, words(args, "-t", "1"), hosts)
    took = run.wait_end(600)
    run.kill()
    lines = run.text("err").splitlines()
    same = took is not None and run.text("out") == expected
    print(f"{n} hosts, {what}: {'the same' if same else 'NOT the same'}: {lines[-1] if lines else ''}", flush=True)
    if not same:
        print(run.text("out"), run.text("err"), expected, sep="\n")
    return same


def passes_of(path):
    """{pass: [(begin, end) of each rank]} of a trace, in microseconds."""
    found = {}
    with open(path) as file:
        for span in json.load(file)["traceEvents"]:
            if span["ph"] == "X" and span["name"] == "pass":
                found.setdefault(span["args"]["pass"], []).append((span["ts"], span["ts"] + span["dur"]))
    return found


def traced(args):
    """Hosts whose clocks differ by an hour. In a pass each rank needs what all others compute in it: all have begun before one
    ends, which shows on one clock only. True: so it is."""
    with cluster.Hosts(2, clock_s=3600) as hosts, tempfile.NamedTemporaryFile(suffix=".json") as file:
        run = cluster.Run(args.mpi, 2, words(args, "-q", "-t", "1", "--trace", file.name), hosts)
        took = run.wait_end(600)
        run.kill()
        passes = passes_of(file.name) if took is not None and os.path.getsize(file.name) else {}
    good = len(passes) == args.n and all(
        len(ranks) == 2 and max(begin for begin, _ in ranks) < min(end for _, end in ranks) for ranks in passes.values())
    print(f"2 hosts, clocks apart: the trace is {'' if good else 'NOT '}on one clock", flush=True)
    if not good:
        print(run.text("err"), passes, sep="\n")
    return good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lariat", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokens", required=True)
    parser.add_argument("--mpi", default="openmpi")
    parser.add_argument("--hosts", default="2,4")
    parser.add_argument("--rates", default="none,1gbit,100mbit")
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("-n", type=int, default=8)
    args, args.options = parser.parse_known_args()
    why = cluster.hosts_possible() if cluster.launcher(args.mpi) else f"no {args.mpi} here"
    if why:
        print(f"skipped: {why}")
        return 77
    good = True
    for n in map(int, args.hosts.split(",")):
        with cluster.Hosts(n) as hosts:
            for rate in args.rates.split(","):
                hosts.rate(None if rate == "none" else rate)
                good = one(args, "a link without a limit" if rate == "none" else f"links of {rate}", hosts) and good
    if os.path.exists("/proc/self/ns/time"):
        good = traced(args) and good
    else:
        print("skipped: this kernel gives hosts no clocks of their own")
    if args.delay_ms and not os.path.exists("/dev/net/tun"):
        print("skipped: no /dev/net/tun here, so packets cannot be delayed")
    elif args.delay_ms:
        with cluster.Hosts(2) as hosts:
            with Relay(hosts, args.delay_ms / 1000):
                good = one(args, f"each packet {args.delay_ms:g} ms later", hosts) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
