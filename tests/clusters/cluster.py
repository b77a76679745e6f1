"""Rings over processes for tests: started by mpirun, watched by /proc, on one host or on several that are network namespaces.
Rests on Open MPI or MPICH, and for hosts on iproute2 and root. faults.py and hosts.py are the tests.
  cluster.py agent HOST COMMAND...    what mpirun calls in the place of ssh"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid

MARK = "LARIAT_TEST_RUN"  # in the environment of every process of a run
NETWORK = "10.77.0"
RANKS = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK")
PHASES = ("load", "prefill", "decode")


def environment():
    return {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "LARIAT_DEVICE": "cpu",
            "OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
            "OMPI_MCA_hwloc_base_binding_policy": "none"}


def launcher(mpi):
    """The path of an MPI's mpirun, None: it is not here."""
    return shutil.which(f"mpirun.{mpi}")


def mpirun(mpi, processes, hosts=None):
    """The words before the program. processes: how many, or a list of (number, arguments of these)."""
    words = [launcher(mpi)]
    if hosts and mpi == "openmpi":
        words += ["--mca", "plm_rsh_agent", hosts.agent, "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", NETWORK + ".0/24",
                  "--mca", "oob_tcp_if_include", NETWORK + ".0/24", "--map-by", "node", "--host", ",".join(hosts.addresses)]
    elif hosts:
        words += ["-launcher", "ssh", "-launcher-exec", hosts.agent, "-hosts", ",".join(hosts.addresses), "-iface", "eth"]
    return words + ["-n", str(processes)]


class Run:
    """One run of mpirun in a session of its own."""

    def __init__(self, mpi, processes, command, hosts=None, more=()):
        """more: further (processes, command), for processes with other options."""
        self.mark, self.started = uuid.uuid4().hex, time.monotonic()
        self.out, self.err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        words = mpirun(mpi, processes, hosts) + command
        for number, other in more:
            words += [":", "-n", str(number)] + other
        inside = hosts.inside(0) if hosts else []
        self.mpirun = subprocess.Popen(inside + words, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err,
                                       env={**environment(), MARK: self.mark}, start_new_session=True)

    def members(self):
        """{rank of MPI: process id} of the programs that are there now."""
        found = {}
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    words = dict(word.split(b"=", 1) for word in file.read().split(b"\0") if b"=" in word)
                with open(f"/proc/{name}/comm") as file:
                    comm = file.read().strip()
                with open(f"/proc/{name}/stat") as file:
                    state = file.read().rsplit(")", 1)[1].split()[0]
            except (OSError, ValueError):
                continue
            if words.get(MARK.encode()) != self.mark.encode() or comm != "lariat" or state == "Z":
                continue
            for rank in RANKS:
                if rank.encode() in words:
                    found[int(words[rank.encode()])] = int(name)
                    break
        return found

    def wait_members(self, n, limit=20):
        end = time.monotonic() + limit
        while time.monotonic() < end and self.mpirun.poll() is None:
            members = self.members()
            if len(members) == n:
                return members
            time.sleep(0.005)
        return self.members()

    def wait_end(self, limit, launcher_too=True):
        """Until all programs, and mpirun unless it is cut off itself, have ended. Seconds that took; None: longer than the limit."""
        begin = time.monotonic()
        while time.monotonic() < begin + limit:
            if (self.mpirun.poll() is not None or not launcher_too) and not self.members():
                return time.monotonic() - begin
            time.sleep(0.02)
        return None

    def kill(self):
        for pid in self.members().values():
            send(pid, signal.SIGKILL)
        send(self.mpirun.pid, signal.SIGKILL)
        self.mpirun.wait()

    def text(self, which):
        file = {"out": self.out, "err": self.err}[which]
        file.seek(0)
        return file.read().decode(errors="replace")


def send(pid, number):
    try:
        os.kill(pid, number)
        return True
    except ProcessLookupError:
        return False


def plain(command, limit=300):
    """A run without a launcher: standard output, standard error, exit status."""
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, env=environment(), timeout=limit)
    return done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"), done.returncode


class Hosts:
    """Hosts as network namespaces on one bridge: an address, a name, /dev/shm and IPC of each its own. A context.
    clock_s: the clock of each is so many seconds ahead of the one's before it."""

    def __init__(self, n, clock_s=0):
        self.clock_s = clock_s
        self.name = "lt" + uuid.uuid4().hex[:4]
        self.names = [f"{self.name}h{i}" for i in range(n)]
        self.addresses = [f"{NETWORK}.{i + 1}" for i in range(n)]
        self.folder = tempfile.mkdtemp()
        self.agent = os.path.join(self.folder, "agent")
        with open(self.agent, "w") as file:
            file.write(f"#!/bin/sh\nexec '{sys.executable}' '{os.path.abspath(__file__)}' agent \"$@\"\n")
        os.chmod(self.agent, 0o755)

    def __enter__(self):
        call(f"ip link add {self.name} type bridge")
        call(f"ip link set {self.name} up")
        for i, name in enumerate(self.names):
            call(f"ip netns add {name}")
            call(f"ip link add {name} type veth peer name eth netns {name}")
            call(f"ip link set {name} master {self.name} up")
            call(f"ip -n {name} addr add {self.addresses[i]}/24 dev eth")
            call(f"ip -n {name} link set eth up")
            call(f"ip -n {name} link set lo up")
        os.environ["LARIAT_TEST_HOSTS"] = self.name
        os.environ["LARIAT_TEST_CLOCK"] = str(self.clock_s)
        return self

    def __exit__(self, *_):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False)
        subprocess.run(["ip", "link", "del", self.name], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def inside(self, i):
        return host_command(self.names[i], i * self.clock_s)

    def rate(self, rate):
        """Limits what each host sends, such as "100mbit"; None: no limit."""
        for name in self.names:
            subprocess.run(["ip", "netns", "exec", name, "tc", "qdisc", "del", "dev", "eth", "root"], check=False,
                           stderr=subprocess.DEVNULL)
            if rate:
                call(f"ip netns exec {name} tc qdisc add dev eth root tbf rate {rate} burst 256kb latency 100ms")

    def cut(self, i):
        call(f"ip link set {self.names[i]} down")

    def mend(self, i):
        call(f"ip link set {self.names[i]} up")


def call(words):
    subprocess.run(words.split(), check=True)


def host_command(name, clock_s=0):
    """What runs the words behind it on that host, whose clock is so many seconds ahead."""
    clock = ["-T", "--monotonic", str(clock_s)] if clock_s else []
    return ["ip", "netns", "exec", name, "unshare", "-u", "-i", "-m", *clock, "sh", "-c",
            f'hostname {name}; mount -t tmpfs none /dev/shm; exec "$0" "$@"']


def hosts_possible():
    """None, or why there can be no hosts here."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip") or not shutil.which("tc"):
        return "no iproute2 here"
    try:
        with Hosts(1) as hosts:
            subprocess.run(hosts.inside(0) + ["true"], check=True, stderr=subprocess.DEVNULL)
            hosts.rate("100mbit")
    except subprocess.CalledProcessError:
        return "this machine allows no network namespaces"
    return None


if __name__ == "__main__" and sys.argv[1:2] == ["agent"]:
    rest = sys.argv[2:]
    while rest and rest[0].startswith("-"):
        rest = rest[1:]
    number = int(rest[0].rsplit(".", 1)[1]) - 1
    command = host_command(f"{os.environ['LARIAT_TEST_HOSTS']}h{number}", number * int(os.environ["LARIAT_TEST_CLOCK"]))
    os.execvp("ip", command + ["sh", "-c", " ".join(rest[1:])])
