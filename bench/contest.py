"""Contenders that take turns, so that a noisy machine is equally noisy to all, and the options of the programs that let them:
peer.py and processes.py."""
import argparse, os, subprocess, sys

PROGRAM = os.path.basename(sys.argv[0])


def run(command, **env):
    """What it prints; ends the program if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})
    if done.returncode:
        sys.exit(f"{PROGRAM}: {' '.join(command)}: {done.stderr.strip().splitlines()[-3:]}")
    return done.stdout


def take_turns(contenders, reps):
    """{name: [what its function gives in each round]}, every round all of {name: function}."""
    got = {name: [] for name in contenders}
    for _ in range(reps):
        for name, measure in contenders.items():
            got[name].append(measure())
    return got


def parser_of(doc, peer, parts):
    """With the options that all have; peer: what is in its folder."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help=f"folder with {peer}")
    parser.add_argument("--lariat", default="build/lariat")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    parser.add_argument("--model", default=os.path.join(cache, "lariat", "SmolLM2-135M-Instruct.Q4_1.gguf"))
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("parts", nargs="*", default=parts)
    return parser


def parse(parser, parts, without_peer):
    """The arguments; without_peer: parts that need no peer."""
    args = parser.parse_args()
    for part in args.parts:
        if part not in parts:
            parser.error(f"no part {part}: there are {', '.join(parts)}")
        if part not in without_peer and not args.peer and args.parts is not parts:
            parser.error(f"{part} needs --peer FOLDER")
    args.parts = [part for part in args.parts if part in without_peer or args.peer]
    return args


def cpu_name():
    return next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
