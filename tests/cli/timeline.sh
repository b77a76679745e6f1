#!/usr/bin/env bash
# The picture of a layer: well-formed XML with a box for each thing that each rank did, none of them outside.
. "$(dirname "$0")/common.sh"
command -v python3 >/dev/null || skip "no python3"
draw=$(dirname "$tensors")/cli_draw

cat >look.py <<'END'
"""Says how many boxes of each kind a picture has, and whether one lies outside it or over another one of its lane."""
import sys
import xml.dom.minidom

root = xml.dom.minidom.parse(sys.argv[1]).documentElement
width, height = float(root.getAttribute("width")), float(root.getAttribute("height"))
counts, lanes, outside, over = {}, {}, 0, 0
for box in root.getElementsByTagName("rect"):
    x, y, w, h = (float(box.getAttribute(name) or 0) for name in ("x", "y", "width", "height"))
    outside += x < 0 or y < 0 or x + w > width or y + h > height
    kind = box.getAttribute("class")
    if kind:
        counts[kind] = counts.get(kind, 0) + 1
        lanes.setdefault(y, []).append((x, x + w))
for boxes in lanes.values():
    boxes.sort()
    over += sum(b[0] < a[1] - 0.02 for a, b in zip(boxes, boxes[1:]))
texts = [text.firstChild.data for text in root.getElementsByTagName("text")]
outside += sum(not 0 < float(text.getAttribute(axis)) < most for text in root.getElementsByTagName("text")
               for axis, most in (("x", width), ("y", height)))
print(", ".join(f"{kind} {counts[kind]}" for kind in sorted(counts)), "in", len(lanes), "lanes;", outside, "outside,", over, "over")
print(texts[0])
print(texts[1].split(";")[0] + ";", "hidden" if "% hidden" in texts[1] else texts[1].split("; ")[-1])
print(*(text for text in texts if "rank" in text and "ring" not in text), sep=", ")
END

# picture ARGS...: draws one and says what is on it
picture() {
    say "\$ draw $*"
    "$draw" "$@" >"$work.seen/out" 2>"$work.seen/err" && python3 look.py "${!#}" >"$work.seen/out" 2>>"$work.seen/err"
    show $?
}

picture mha-bf16 1 kv 50 0 one.svg
picture mha-bf16 2 kv 150 0 two.svg
picture mqa-bias-headdim-fp32 3 q 150 0 three.svg
picture gqa-yarn-bf16 5 kv 150 0 five.svg
ln -s "$(readlink -f mha-bf16)" '<a & "b">' && picture '<a & "b">' 2 kv 50 0 name.svg
picture mha-bf16 2 kv 150 5 room.svg
picture mha-bf16 2 kv 50 0 nowhere/two.svg
must "nothing is left of what could not be drawn" test "$(echo ./*.svg)" = "./five.svg ./name.svg ./one.svg ./three.svg ./two.svg"
finish
