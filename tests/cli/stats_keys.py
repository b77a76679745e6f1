"""stats_keys.py FILES.md STATS.json fails where the keys of --stats and those that docs/files.md lists are not the same."""
import json
import re
import sys


def keys(of, prefix=""):
    for key, value in of.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from keys(value, prefix + key + ".")


with open(sys.argv[1], encoding="utf-8") as f:
    page = f.read().split("## Figures", 1)[1]
with open(sys.argv[2], encoding="utf-8") as f:
    real = set(keys(json.load(f)))
first, plan = page.split("`plan` has:", 1)
listed = set()
for text, prefix in ((first, ""), (plan, "plan.")):
    for row in re.findall(r"^\| (`.*?) \| (.*) \|$", text, re.M):
        listed |= {prefix + key for key in re.findall(r"`([a-z_.]+)`", row[0])}
        if row[0] == "`model`":
            listed |= {"model." + key for key in re.findall(r"`([a-z_]+)`", row[1].split("see")[0])}
print("only in the file:", sorted(real - listed), "only on the page:", sorted(listed - real))
sys.exit(real != listed)
