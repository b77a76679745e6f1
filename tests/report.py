"""What is told after a run of the tests: how long each group took, which tests or cases were skipped, and why.
   report.py RESULTS [ALLOWED]
RESULTS is what `ctest --output-junit` wrote. A test says "skipped: REASON" on a line of its own for all of itself (exit status
77) or for a part. With ALLOWED, a list such as tests/allowed-skips, a skip that is not in it ends in exit status 1."""
import collections
import fnmatch
import sys
import textwrap
import xml.etree.ElementTree


def skips(case):
    """The reasons that a test gives."""
    text = case.findtext("system-out") or ""
    reasons = [line[len("skipped: "):].strip() for line in text.splitlines() if line.startswith("skipped: ")]
    silent = case.find("skipped") is not None or "[  SKIPPED ]" in text # by CTest, by cmocka
    return reasons or (["no reason given"] if silent else [])


def allowed(name, reason, rules):
    return any(fnmatch.fnmatchcase(name, test) and fnmatch.fnmatchcase(reason, why) for test, why in rules)


def read_rules(path):
    rules = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(map(str.strip, lines), 1):
            words = line.split(None, 1)
            if not words or line.startswith("#"):
                continue
            if len(words) < 2:
                sys.exit(f"{path}: line {number}: '{line}' names a test without a reason, write TEST REASON")
            rules.append(words)
    return rules


def main():
    cases = xml.etree.ElementTree.parse(sys.argv[1]).getroot().findall("testcase")
    rules = read_rules(sys.argv[2]) if len(sys.argv) > 2 else None

    groups = collections.defaultdict(list)
    reasons = collections.defaultdict(list)
    for case in cases:
        name = case.get("name")
        groups[name.rpartition("/")[0]].append(float(case.get("time")))
        for reason in dict.fromkeys(skips(case)):
            reasons[reason].append(name)

    print("\nTime of each group, its tests added up:")
    for group, times in groups.items():
        print(f"{sum(times):8.1f} s  {group}, {len(times)} {'test' if len(times) == 1 else 'tests'}")
    for reason, names in reasons.items():
        print(f"skipped: {reason}")
        print(textwrap.fill(", ".join(names), 120, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False))
    refused = [(name, reason) for reason, names in reasons.items() for name in names if rules is not None and not allowed(name, reason, rules)]
    for name, reason in refused:
        print(f"FAILED: {name} was skipped ({reason}), which {sys.argv[2]} does not allow")
    return 1 if refused else 0


sys.exit(main())
