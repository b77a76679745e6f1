#!/usr/bin/env python3
"""Every option that README, CONTRIBUTING, docs/ and the help name is one of the subcommand, or of the script, that it is named
with, and its value is one that this takes; help and manual have the same options.

A command in code is `lariat SUBCOMMAND ...` (or what a sentence calls `SUBCOMMAND --option`), a script or source file of this
checkout, or another program. What stands alone belongs to a subcommand that its paragraph names, or else its section up to there, or to those
that its document's title names.
    documents.py LARIAT CHECKOUT
"""
import pathlib
import re
import shlex
import subprocess
import sys

LARIAT, ROOT = sys.argv[1], pathlib.Path(sys.argv[2])
# Programs that are not ours, whose options are not looked at.
OTHERS = {"cmake", "ctest", "cc", "gdb", "cuobjdump", "perf", "nsys", "setarch", "chrt", "benchmark_ring.py", "mkdir", "export",
          "mpirun", "mpiexec", "srun", "sbatch", "#SBATCH", "tr", "head", "llama-quantize", "llama-perplexity"}
# Of compilers, libFuzzer and launchers, named alone.
STRANGERS = {"-g1", "-jobs=2", "--bind-to", "--map-by", "--cpus-per-task", "--nodes", "--ntasks-per-node", "--time", "--mca", "-iface"}
# The column of a table in which other programs' options stand.
OTHERS_COLUMN = "of the original"
PLACEHOLDER = re.compile(r"[A-Z][A-Z.,a-z]*$|.*\|")
OPTION = re.compile(r"(?<![\w-])--[a-zA-Z][\w-]*")


def say(*words):
    done = subprocess.run([LARIAT, *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr.strip()


def table_of(command):
    """The options in a subcommand's help: each name with its value, or None for a flag."""
    options = {}
    for letter, name, value in re.findall(r"^  (?:-(\w), |    )--([\w-]+)(?: (\S+))?", say(command, "--help")[1], re.M):
        options["--" + name] = value or None
        if letter:
            options["-" + letter] = value or None
    return options


MANUAL = say("help", "--man")[1].replace("\\-", "-")


def table_in_manual(heading):
    section = re.search(rf"^{heading}$(.*?)(?=^\.S[SH])", MANUAL, re.M | re.S).group(1)
    options = {}
    for letter, name, value in re.findall(r"^(?:\\fB-(\w)\\fR, )?\\fB--([\w-]+)\\fR(?: \\fI(.*?)\\fR)?", section, re.M):
        options["--" + name] = value or None
        if letter:
            options["-" + letter] = value or None
    return options


COMMANDS = {name: table_of(name) for name in re.findall(r"^  (\w+) +\S", say("--help")[1].split("Subcommands:")[1], re.M)}
COMMANDS["help"] = table_in_manual(r"\.SS lariat help") # whose --help is the list of the others
FILES = [f for folder in ("scripts", "bench", "tests", "examples") for f in (ROOT / folder).rglob("*") if f.is_file()]
found = []
checked = 0


def complain(place, what):
    found.append(f"{place}: {what}")


def wrong_with(command, words):
    """Why `lariat command` does not take these words, or None. A value that is only called something is not tried."""
    at, tried = 0, []
    while at < len(words):
        word, _, joined = words[at].partition("=") if words[at].startswith("--") else (words[at], "", "")
        at += 1
        if not word.startswith("-") or word == "-":
            if command not in ("inspect", "help"):
                return f"lariat {command} takes no argument '{word}'"
            continue
        if word not in COMMANDS[command]:
            return f"lariat {command} has no {word}"
        if COMMANDS[command][word] is not None:
            value = joined or (words[at] if at < len(words) else "")
            at += not joined
            if value and not PLACEHOLDER.match(value):
                tried += [word, value]
    if command == "help":
        return None
    status, _, why = say(command, *tried, "--help")
    return why if status else None


def source_of(word):
    """The script or source file of this checkout that a command is."""
    name = word.rsplit("/", 1)[-1]
    return next((f for f in FILES if f.name in (name, name + ".c")), None)


def words_of(text):
    text = re.split(r"\s#\s|\s{3,}", text.strip())[0].replace("\\|", "|").replace("...", "")
    text = re.sub(r"\$\(([^)]*)\)", "X", text)
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def has_option(source, option):
    return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", source.read_text())


def check_mention(place, words, near, scripts):
    """Options named alone: those of one subcommand, of the ones nearby if there are any, or literally in a script nearby."""
    if words[0] in STRANGERS:
        return
    if words[0].startswith("-D"):
        name = words[0][2:].split("=")[0]
        if not name.startswith("CMAKE_") and not re.search(rf"\b{name}\b", (ROOT / "CMakeLists.txt").read_text()):
            complain(place, f"CMakeLists.txt has no {name}")
        return
    whys = [wrong_with(command, words) for command in (near or COMMANDS)]
    if all(whys) and not any(has_option(source, words[0]) for source in scripts):
        complain(place, " ".join(words) + ": " + (whys[0] if len(whys) == 1 else "no subcommand named here takes it"))


def command_at(words):
    """Where a subcommand's name stands in a command, and whether `lariat` does before it."""
    for at, word in enumerate(words[:-1]):
        if word.rsplit("/", 1)[-1] == "lariat" and words[at + 1] in COMMANDS:
            return at + 1
    bare = len(words) > 1 and words[0] in COMMANDS and words[1].startswith("-")
    return 0 if bare else -1


def segments(words):
    out = [[]]
    for word in words:
        if word in ("|", "&&", ";", ":"):
            out.append([])
        else:
            out[-1].append(word)
    return [s[:s.index(">")] if ">" in s else s for s in out if s]


def check_code(place, text, near, scripts):
    global checked
    checked += bool(re.search(r"(?<![\w-])--?[a-zA-Z]", text))
    for words in segments(words_of(text)):
        while words and re.match(r"\w+=", words[0]):
            words = words[1:]
        at = command_at(words)
        if at >= 0:
            why = wrong_with(words[at], words[at + 1:])
            if why:
                complain(place, f"{' '.join(words)}: {why}")
        elif words and re.match(r"--?[a-zA-Z]", words[0]):
            check_mention(place, words, near, scripts)
        elif words and any(w.startswith("-") for w in words[1:]) and words[0] not in OTHERS:
            source = source_of(words[0])
            if not source:
                complain(place, f"{' '.join(words)}: {words[0]} is neither of this checkout nor among the programs that {__file__} knows")
                continue
            for option in (w.split("=")[0] for w in words[1:] if w.startswith("-")):
                if not has_option(source, option):
                    complain(place, f"{source.name} has no {option}")


def without_others(lines):
    """The lines with the column of a table left out in which other programs' options stand."""
    column = None
    for line in lines:
        cells = re.split(r"(?<!\\)\|", line)
        if not line.startswith("|"):
            column = None
        elif column is None:
            column = next((i for i, cell in enumerate(cells) if OTHERS_COLUMN in cell), -1)
        if column is not None and column >= 0:
            line = "|".join(cell for i, cell in enumerate(cells) if i != column)
        yield line


def paragraphs(path):
    """(first line, is it code, lines): a block of code, or prose up to an empty line, an item of a list, a row or a heading."""
    block, first, is_code = [], 0, False
    for number, line in enumerate([*without_others(path.read_text().splitlines()), ""], 1):
        code = line.startswith("    ")
        if block and (not line.strip() or code != is_code or re.match(r"#|- |\|", line)):
            yield first, is_code, block
            block = []
        if line.strip():
            first, is_code = (first, is_code) if block else (number, code)
            block.append(line)


def check_document(path):
    name, section, seen, document = path.relative_to(ROOT), set(), set(), None
    for first, is_code, lines in paragraphs(path):
        text = "\n".join(lines)
        near = set(re.findall(rf"(?:lariat\s|`)({'|'.join(COMMANDS)})\b", text)) - {"help"}
        document = document if document is not None else near # of the first paragraph
        section = set() if text.startswith("#") else section | near
        near = (near or section) | document
        seen = set() if text.startswith("#") else seen
        seen |= {s for s in map(source_of, re.findall(r"[\w./-]+\.(?:sh|py)\b", text)) if s}
        if is_code:
            for i, line in enumerate(lines):
                check_code(f"{name}:{first + i}", line, near, seen)
                for option in OPTION.findall(line.split(" # ", 1)[1] if " # " in line else ""):
                    check_mention(f"{name}:{first + i}", [option], near, seen)
            continue
        for span in re.findall(r"`([^`]+)`", text):
            check_code(f"{name}:{first}", " ".join(span.split()), near, seen)
        for option in OPTION.findall(re.sub(r"`[^`]+`", "", text)):
            check_mention(f"{name}:{first}", [option], near, seen)


def check_help_and_manual():
    common = table_in_manual(r"\.SH COMMON OPTIONS")
    for command, options in COMMANDS.items():
        own = table_in_manual(rf"\.SS lariat {command}")
        for option in options | own:
            if own.get(option, common.get(option, "")) != options.get(option, ""):
                complain(f"lariat {command}", f"help and manual differ in {option}")
        for option in OPTION.findall(say(command, "--help")[1] if command != "help" else ""):
            if option not in options:
                complain(f"lariat {command} --help", f"names {option}, which it has not")


def check_itself():
    """What must be found; the rest of this file can be trusted as far as that goes."""
    faults = ["lariat tokenize --ranks 2", "lariat bench --hops host", "lariat generate -p x --kv f8", "lariat generate --temp 0.7 text", "--tmep", "-z",
              "--layout rows", "generate --jsonl", "scripts/demo.sh --fast", "nowhere.py --x", "-DLARIAT_NONE=ON", "lariat generate --plan | lariat inspect --out f"]
    for fault in faults:
        before = len(found)
        check_code("itself", fault, set(), [])
        if len(found) == before:
            sys.exit(f"{fault}: not found to be wrong")
    found.clear()


check_itself()
for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
    check_document(document)
check_help_and_manual()
if checked < 120: # there are 160
    complain("documents", f"only {checked} pieces of code with options were seen in them")
if found:
    sys.exit("\n".join(found))
