"""What the tests of tokenizers against their own packages share: texts to try, and the program's ids for them.
Exits 77 where the package is missing, which CTest counts as skipped."""
import importlib
import json
import pathlib
import random
import subprocess
import sys

SKIPPED = 77

PIECES = [
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", " \t\n\r\v\f", "'\u2019\"`", "!?.,;:-_()[]{}<>|/\\@#$%^&*+=~",
    "\u00e9\u00fc\u00f1\u00df\u00f8\u00c0", "\u017f\u212a\u0130\u0131\u0149", "\u65e5\u672c\u8a9e\u6f22\u5b57", "\u0430\u0431\u0432\u0416",
    "\u0645\u0631\u062d", "\u0939\u093f\u0928\u094d", "\U0001f600\U0001f389\u200d\ufe0f\U0001f44d\U0001f3fd",
    "\u00a0\u2003\u3000\u200b\u200d\ufeff\u180e\u1680\u2028\u2029\u0085\u202f\u205f\x1c\x1f", "\u00bd\u00b2\u2460\u2167\u0663\U0001d7d8",
    "\u2581", "\u0300\u0301\u0327", "\ud55c\u3131", "\x01\x1b\x7f", "\U0001d49c\U00010348\U0002070e", "\ufb01\ufb00\ufb06",
]
WORDS = [
    "the", "Hello", " world", "don't", "I'LL", "we'VE", "'S", "'s", "'T", "'re", "'\u017f", "it\u2019s", "<s>", "</s>", "<unk>", "<|eot_id|>",
    "<0x41>", "return", "  ", "   ", "\n\n", "\r\n", " \n ", "int main(void)", "2024", "3.14", "static",
]


def package(name):
    """The package, or the end of the test."""
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"skipped: the Python package {name} is not installed")
        sys.exit(SKIPPED)


def corpus(root):
    """Lines of the repository's own sources and pages."""
    root = pathlib.Path(root)
    files = sorted(root.glob("include/**/*.h")) + sorted(root.glob("src/**/*.[ch]")) + sorted(root.glob("docs/**/*.md"))
    return [line for f in files for line in f.read_text(encoding="utf-8").splitlines() if line.strip()]


def one_text(rnd):
    n = rnd.choice([1, 2, 3, 5, 8, 13, 40, 120])
    kind = rnd.random()
    if kind < 0.35:
        return "".join(rnd.choice(rnd.choice(PIECES)) for _ in range(n))
    if kind < 0.6:
        return "".join(rnd.choice(WORDS) for _ in range(n))
    if kind < 0.75:
        return "".join(rnd.choice(rnd.choice(PIECES)) * rnd.choice([1, 1, 2, 3, 7, 30]) for _ in range(n))
    if kind < 0.9:
        return "".join(chr(rnd.choice([rnd.randrange(1, 0x3000), rnd.randrange(0xE000, 0x110000)])) + rnd.choice(["", " ", "a", "1"])
                       for _ in range(n))
    return bytes(rnd.randrange(1, 256) for _ in range(n)).decode("utf-8", "replace")


def texts(lines, n, seed):
    """Lines of the corpus, pieces of it, random texts of many kinds, and some that are long."""
    rnd = random.Random(seed)
    joined = "\n".join(lines)
    out = ["", " ", "  ", "a", "\n"] + rnd.sample(lines, min(len(lines), n // 4))
    for _ in range(n // 4):
        at = rnd.randrange(len(joined))
        out.append(joined[at:at + rnd.choice([5, 50, 500])])
    while len(out) < n:
        out.append(one_text(rnd))
    out += ["a" * 20000, " " * 20000, "1" * 20000, "ab" * 10000, "".join(rnd.choice("abcdefgh") for _ in range(20000)), joined[:50000]]
    return out


def lariat_ids(program, model, lines, *options):
    """One list of ids for each line."""
    given = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([program, "tokenize", "-m", str(model), "--jsonl", *options], input=given.encode(), capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"lariat tokenize failed: {done.stderr.decode()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def lariat_text(program, model, ids, *options):
    done = subprocess.run([program, "tokenize", "-m", str(model), "--decode", *options], input=" ".join(map(str, ids)).encode(),
                          capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"lariat tokenize --decode failed: {done.stderr.decode()}")
    return done.stdout.decode("utf-8")


def refusal(program, model):
    """The one line with which a model is refused."""
    done = subprocess.run([program, "tokenize", "-m", str(model), "-p", "x"], capture_output=True, check=False)
    if done.returncode != 1 or done.stderr.count(b"\n") != 1:
        sys.exit(f"wanted one line and exit 1, got exit {done.returncode}: {done.stderr.decode()}")
    return done.stderr.decode()


def compare(name, lines, wanted, got, more=lambda: ""):
    """Fails at the first text whose ids differ; `more` is then printed too."""
    if len(wanted) != len(got):
        sys.exit(f"{name}: {len(got)} answers for {len(wanted)} texts")
    for line, a, b in zip(lines, wanted, got):
        if list(a) != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            sys.exit(f"{name}: {line[:200]!r}: from id {at} on wanted {list(a)[at:at + 6]}, got {b[at:at + 6]} {more()}")
    print(f"{name}: {len(lines)} texts agree")
