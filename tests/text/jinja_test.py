#!/usr/bin/env python3
"""Small templates, one a line and one of several: lariat's text is jinja2's, and both refuse the same.
Usage: jinja_test.py LARIAT FOLDER REPOSITORY"""
import datetime
import json
import pathlib
import subprocess
import sys
import unicodedata

import peers

sandbox = peers.package("jinja2.sandbox")

SNIPPETS = r'''{{ "a-b-c".rsplit("-",1) }}|{{ " a  b ".split() }}|{{ " a  b c ".rsplit(None,1) }}|{{ "abc"[::-1] }}|{{ [1,2,3][-2:] }}
{{ -2**2 }} {{ 7//-2 }} {{ -7%3 }} {{ 7/2 }} {{ 1e20 }} {{ 0.1+0.2 }} {{ 1.0 }} {{ 1e-5 }} {{ 2**-1 }}
{{ "x"|center(5) }}
{{ {"a":[1,(2,),none,true,"q'\"\n"]} }}
{{ [1,"a",{"b":2.5}]|tojson(indent=2) }}{{ {"b":1,"a":2}|tojson(sort_keys=true) }}{{ []|tojson(indent=1) }}
{% for a,b in {"x":1,"y":2}.items() %}{{ loop.index }}{{ a }}{{ b }}{{ loop.last }}{% else %}n{% endfor %}
{% set x=1 %}{% for i in [1,2] %}{{ x }}{% set x=i+5 %}{{ x }}{% endfor %}{{ x }}
{% macro m(a,b=a) %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1,b=2) }}{{ m.name }}
{% macro c() %}<{{ caller(3) }}>{% endmacro %}{% call(q) c() %}q{{ q }}{% endcall %}
  {% if true %}
  x
  {% endif %}
 y {#- c -#} z
a {%- if 1 -%} b {%- endif +%} 
c
{{ "%05.2f|%s|%d|%x" % (3.14159,"a",42,255) }}{{ "%(a)s" % {"a":1} }}
{{ "{} {1} {x}".format(1,x=3) if false else "{0}{x}".format(1,x=2) }}
{{ "a\nb\n\nc"|indent(2) }}|{{ "a\nb"|indent(2,true) }}
{{ ["b","A","c"]|sort }}{{ ["b","A"]|sort(reverse=true,case_sensitive=true) }}{{ {"b":1,"A":2}|dictsort }}
{{ [{"a":1},{"a":2}]|selectattr("a","gt",1)|list }}{{ [{"a":1}]|map(attribute="a")|join(",") }}{{ ["a"]|map("upper")|list }}
{{ undefined_thing is defined }}{{ undefined_thing }}{{ undefined_thing|default("d") }}{{ ""|default("e",true) }}
{{ 1 if false }}{{ "a" ~ none ~ 1.5 ~ true }}{{ none is none }}{{ 1 in [1] and 2 not in [1] }}
{{ "Hello World"|title }}{{ "hELLO"|capitalize }}{{ "it's ok".title() }}{{ "<a>"|e }}{{ "<a>"|safe + "<b>" }}
{{ "12"|int + 1 }}{{ "x"|int(7) }}{{ "1.5"|float }}{{ 3.7|int }}{{ 2.5|round }}{{ -3|abs }}{{ 2.567|round(1) }}
{{ "a,b"|replace(",",";") }}{{ "aaa".replace("a","b",2) }}{{ "abc".find("c") }}{{ "éa"|length }}{{ "é"|upper }}
{{ range(1,7,2)|list }}{{ [1,2]+[3] }}{{ [0]*2 }}{{ "ab"*2 }}{{ (1,2) }}{{ (1,) }}{{ () }}
{{ 1 < 2 < 3 }}{{ 1 == 1.0 }}{{ "a" < "b" }}{{ [1,2] == [1,2] }}{{ true + 1 }}
{{ "x".startswith(("a","x")) }}{{ "abc".partition("b") }}{{ "a b".split(" ")|first }}{{ [1,2]|last }}{{ [3,1]|min }}
{% with a=1, b=2 %}{{ a+b }}{% endwith %}{% filter upper %}abc{% endfilter %}{% raw %}{{ x }}{% endraw %}
{% set ns=namespace(a=1) %}{% for i in [1,2,3] if i!=2 %}{% set ns.a=ns.a+i %}{% if i==3 %}{% break %}{% endif %}{% endfor %}{{ ns.a }}
{{ {"a":1}.keys() }}{{ {"a":1}.values() }}{{ {"a":1}.items() }}{{ "\x7fé"|tojson(ensure_ascii=true) }}{{ "abc"["upper lower"] is defined }}
{% for a in [1] %}{% for b in [1] %}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}{% endfor %}
{% for i in [] %}{% else %}{% set y=1 %}{{ y }}{% endfor %}{{ y is defined }}
{{ "%x %o %X" % (-255, -8, 255) }}{{ "%05d|%+.3e|%5.1f" % (-7, 1234.5, 2.25) }}{{ "%d" % 3.9 }}{{ "%.64f" % 1e300 }}
{{ "1_000"|int }}{{ "1__0"|int(5) }}{{ "_1"|int }}{{ "1_0.5"|float }}{{ "ff"|int(base=16) }}{{ "0x1f"|int }}{{ "1e2"|int }}
{{ 2.675|round(2) }} {{ 2.5|round }} {{ 42|round(method="ceil") }} {{ 42|round(1,"common") }} {{ 1.25|round(1) }} {{ 1e300|round(2) }}
{{ [{}, {"a":{"b":1}}, {"a":{}}]|map(attribute="a.b",default="x")|list }}{{ [{}]|map(attribute=0,default="x")|list }}
{{ ["a"]|join }}{{ "f" is filter }}{{ "" is filter }}{{ "upper" is filter }}{{ 2.0 ** 3 }}{{ 0 ** 0 }}
{{ 1.5|round(method="x") }}
{{ "a"|replace("a") }}
{{ ",".join() }}
{{ "%x" % 3.0 }}
{{ 0 ** -1 }}
{{ 0.0 ** -1 }}
{{ 1e300 ** 2 }}
{{ "a".strip("a", "b") }}
{{ "a" in {"a":1} }}{{ {"a":1}.get("b","z") }}{{ {"a":1}["b"] is undefined }}{{ {"a":{"b":2}}.a.b }}{{ {"items":1}["items"] }}
{{ "\u00e9\x41\t|" }}{{ 'a' 'b' }}{{ "a\\d" }}{{ 5 is odd }}{{ 4 is divisibleby 2 }}{{ "a" is string }}{{ {} is mapping }}
{{ [1,2,3]|sum }}{{ [1,1,2]|unique|list }}{{ [1,2]|reverse|list }}{{ "abc"|reverse }}{{ "a b c"|wordcount }}{{ [[1,2],[3]]|map("length")|list }}
{{ x.y }}
{{ "a" + 1 }}
{{ none.x }}
{{ none|length }}
{{ [].append(1) }}
{{ "a".upper().lower().strip("a") }}{{ "abc"[5] }}{{ "abc"[1:2] }}{{ "abc"[-1] }}{{ [1,2,3][::2] }}
{{ 10000000000000000.0 }} {{ 123456789.125 }} {{ 1e16 }} {{ 1e15 }} {{ 1.5e300 }} {{ 3 // 2.0 }} {{ 5 % 2.5 }}
{{ "a\r\nb\x0bc".splitlines() }}{{ "é日"|tojson }}{{ "é😀"|tojson(ensure_ascii=true) }}{{ "\x7f\x01"|tojson }}
{{ not true or false and 1 }}{{ 1 and "a" }}{{ 0 or [] }}{{ "x" if 0 else "y" if 0 else "z" }}
{% for i in "ab" %}{{ loop.cycle("x","y") }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.changed(i) }}{{ loop.revindex0 }}{% endfor %}
{% set a %}b{{ 1 }}{% endset %}{{ a|upper }}{% set a, b = 1, 2 %}{{ a+b }}{% set c = 1, 2 %}{{ c }}
{{ "abc"|list }}{{ {"a":1}|list }}{{ {"a":1}|items|list }}{{ dict(a=1) }}{{ "a"|string|tojson }}{{ "%s"|format("x") }}
{{ "a" is in ["a"] }}{{ 1 is eq 1 }}{{ [] is iterable }}{{ [] is sequence }}{{ 1.5 is float }}{{ true is integer }}{{ true is number }}
{{ " \u00a0x\u2003".strip() }}|{{ "xxabxx".lstrip("x") }}|{{ "a".ljust(3) }}|{{ "5".zfill(3) }}|{{ "ab".join(["1","2"]) }}
{{ {"a":1,"b":2}.keys()|list }}{{ {"a":1}.values()|list }}{{ [1,[2,[3]]]|string }}{{ 1|string ~ 2 }}{{ "3"*3 }}
{% for t in ["²","٣","½","五","①","a1","Ⅷ","𝟘","1.5","٣²"] %}{{ [t.isdecimal(), t.isdigit(), t.isnumeric(), t.isalnum(), t.isalpha()] }}{% endfor %}
{% for t in ["日本","ªº","ʰ","ै","Ⓐ","ǅ","Ab","ab","AB","日A","_","", "ß","İ"] %}{{ [t.isalpha(), t.isalnum(), t.isupper(), t.islower()] }}{% endfor %}
{{ "日a ²a.b it's x_y".title() }}{{ "日a".capitalize() }}
{{ ["\u200b\u00ad\ue000\u200e\ufeff\u2028\u00a0\u3000\u0085\x7f\x1bé日😀\U000f0000\u0378\ufffe\u0301"] }}{{ ["'"] }}{{ ["'\""] }}
{% for t in ["inf","nan","-inf"," +Infinity\n","iNf","infinit","-nan","1e400","-1e400","1_0.5_1","1.",".",".5"] %}{{ t|float("d") }} {{ t|int("d") }} {% endfor %}
{% for t in ["1e+5","1_e5","1e1_0","0x1","٣","٣.٥","1e-400","nan(1)","1._5","1__0","","+","--1","1 2","1e","𝟙𝟚","०x1"] %}{{ t|float("d") }} {{ t|int("d") }} {% endfor %}
{{ "0x_1f"|int(base=16) }} {{ "1_f"|int(base=16) }} {{ "-0xFF"|int(1,16) }} {{ ("0"*80 ~ "7")|int }}
{{ ("0"*80 ~ ".5")|float }} {% set x="nan" %}{{ x|float|int("d") }}
{% set x="inf" %}{{ x|float|int("d") }}
{{ "%5s|%-5s|%.2s|%-6.3s|%05s|%+5s|%5r|%.0s|%5.s|% s|%#s|%2s" % ("é日","ab","é日x","abcdef","ab","ab","a","abc","abc","a","b","long") }}
{{ "%5s|%-5s|%8s" % (none, 1.5, [1]) }}{{ "%(a)-4s|" % {"a": "x"} }}{{ "%-5s|"|format("ab") }}
{% set i, n = "inf", "-nan" %}{{ "%f|%+f|%5.1f|%e|%g" % (i|float, n|float, -(i|float), n|float, i|float) }}{{ n|float == n|float }}
{% set i = "inf" %}{{ "%d" % (i|float) }}
{{ "%5%" % 1 }}
{{ strftime_now("%Y-%m-%d %H:%M:%S.%f|%Z|%z|%%f|%%%f|%j %a %b %-d|") }}{{ strftime_now("%Z") }}{{ strftime_now("") }}{{ strftime_now("5%") }}
{{ strftime_now(5) }}
{{ {"a":none}.a is none }}{{ {1:2}[1] }}{{ [1,2,3].index(2) }}{{ "aXbX".count("X") }}{{ "A".isupper() }}{{ "12".isdigit() }}
{% set ns = namespace(n=0) %}{% for m in [1,2,3,4] if ns.n < 2 %}{% set ns.n = ns.n + 1 %}{{ m }}{% endfor %}
{% set ns = namespace(n=0) %}{% for m in [1,2,3,4] if ns.n < 2 %}{% set ns.n = ns.n + 1 %}{{ m }}{{ loop.last }}{{ loop.length }}{% endfor %}
{% set ns = namespace(n=0) %}{% for m in [1,2,3,4] if ns.n < 2 %}{% set ns.n = ns.n + 1 %}{{ m }}{{ loop.last }}{{ loop.nextitem }}{% endfor %}
{% set ns = namespace(n=0) %}{% for m in [1,2,3,4] if ns.n < 2 %}{{ loop.index0 }}{{ loop.revindex }}{% set ns.n = ns.n + 1 %}{{ m }}{% else %}x{% endfor %}
{% set ns = namespace(l=none) %}{% for m in range(9) if not ns.l or ns.l.length %}{% set ns.l = loop %}{{ m }}{% endfor %}
{% set ns = namespace(l=none) %}{% for m in range(9) if ns.l is none or ns.l.last %}{% set ns.l = loop %}{{ m }}{% endfor %}
{% set ns = namespace(l=none) %}{% for m in range(9) if ns.l is none or ns.l.index < 3 %}{% set ns.l = loop %}{{ m }}{% endfor %}|{{ ns.l.index }}{{ ns.l.length }}
{% set ns = namespace(l=none) %}{% for i in range(3) %}{% set ns.l = loop %}{% endfor %}{{ ns.l.index }}{{ ns.l.last }}{{ ns.l.previtem }}{{ ns.l.revindex }}
{% set ns = namespace(l=none) %}{% for i in range(3) %}{% set ns.l = loop %}{% if i == 1 %}{% break %}{% endif %}{% endfor %}{{ ns.l.index }}{{ ns.l.last }}
{% for m in [1,2,3,4] if m > 5 %}{{ loop.index0 }}{% else %}x{% endfor %}
{% for m in [1,2,3,4] if m > 2 %}{{ loop.index0 }}{{ loop|string if false }}{{ loop.previtem }}{% else %}x{% endfor %}
{{ 1.0 // 0.1 }} {{ -4.0 % 2 }} {{ 4.0 % -2 }} {{ -0.0 // 3 }} {{ 7.5 // -2 }} {{ -7.5 % 2 }} {{ +-0.0 }} {{ +true }}
{{ 1 // 0.1 }} {{ 0.3 % 0.1 }} {{ -1e-20 % 3.0 }}
{{ "it's ok a-b é_1 -- ."|wordcount }}{{ ""|wordcount }}
{{ "a\r\nb\x0bc\n\nd"|indent(2) }}|{{ "a\nb\n"|indent(2,true,true) }}|{{ ""|indent(2,true) }}|{{ "\n"|indent }}
{{ 5|indent }}
{{ "a\n\n b"|indent(">>", blank=true) }}|{{ ("<a>\n<b>"|safe)|indent + "<" }}
{{ "{}{0}".format(1) }}
{{ "{0}{}".format(1,2) }}
{{ "{}{a}{}".format(1,2,a=3) }}
{{ "{0}{a}{1}".format(1,2,a=3) }}
{{ {"a":1}.items()[:2] }}
{% set a = {"a":1} %}{{ a[1:] }}
{{ missing_one[1:] }}
{{ ([1],) in {} }}
{{ [1] in {"a":1}.keys() }}
{{ {([1],2):1} }}
{{ {(1,2):1}[(1,2)] }}
{% filter length %}abc{% endfilter %}
{% filter tojson %}abc{% endfilter %}
{{ [none,none]|sort }}{{ [{"a":1},{}]|sort(attribute="b")|length }}{{ [3,1]|sort }}{{ [[2],[1]]|sort(attribute=0) }}
{{ [{"a":1},{}]|sort(attribute="a") }}
{{ ["a","b"]|sum(start="") }}
{{ [[1],[2]]|sum(start=[]) }}
{{ "\é" }}{{ "\日a" }}{{ '\😀' }}{{ "\q\é" }}
{{ 3.0 is odd }}{{ 2.0 is even }}{{ 4.5 is divisibleby 1.5 }}{{ true is odd }}
{{ "a" is odd }}
{{ 4 is divisibleby 0 }}
{{ "Ab" is lower }}{{ "a1" is lower }}{{ 1 is lower }}{{ ["a"] is lower }}{{ none is upper }}{{ "" is upper }}{{ "1" is upper }}
{{ ("<a>,<b>"|safe).split(",") }}{{ ("<a>"|safe).partition("a") }}{{ ("x<y"|safe).replace("x","<") }}
{{ ("-"|safe).join(["<",1,"&"|safe]) }}{{ ("a"|safe).ljust(3,"*") }}
{{ "%s %r %d"|safe % ("<", "'", 5) }}{{ ("{} {a}"|safe).format("<", a="&"|safe) }}{{ "%5s|"|safe % "<" }}
{{ ("<"|safe) * 2 + "<" }}{{ 2 * ("<"|safe) + "<" }}{{ "<"|safe|reverse + "<" }}
{{ ("<"|safe) ~ "<" }}{{ ("<"|safe)|upper + "<" }}{{ [("<"|safe)]|join("<") + "<" }}{{ ("a<"|safe)[0] + "<" }}{{ "<"|e|e }}
{{ "<"|e|length }}
{{ ("a"|safe).ljust(3,"<") }}
{{ 0.5|round(method="ceil") }}{{ -0.5|round(method="ceil") }}{{ -0.5|round }}{{ 1.5|round(0,"floor") }}
{% for x in [1,2] %}{% break %}{% else %}E{% endfor %}
{% for x in [1,2] %}{% continue %}{% else %}E{% endfor %}
{% for x in [1,2] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% else %}E{% endfor %}
{% for x in [1,2] %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% else %}E{% endfor %}
{% for x in [1] %}{% for y in [1] %}{% break %}{% endfor %}{% else %}E{% endfor %}
{{ [{"a":1}]|join(",") }}
{{ {} is filter }}'''
NOW = datetime.datetime(2026, 11, 7, 12, 34, 56)
# What jinja2 renders and lariat refuses, and words of the reason.
REFUSED = [
    ('{{ strftime_now("a\\u0000b") }}', "strftime_now"), ('{{ "100000000000000000000"|int }}', "64 bits"), ('{{ "1e20"|int(5) }}', "64 bits"),
    ("{{ 1e20|int }}", "64 bits"), ('{% set x = "inf" %}{{ "%05f" % (x|float) }}', "%05f of inf"), ('{{ "%65s" % 1 }}', "format"),
]
BEGIN, LINES = "  {% if true %}", 5  # the one of several lines


def snippets():
    lines = SNIPPETS.split("\n")
    at = lines.index(BEGIN)
    return lines[:at] + ["\n".join(lines[at:at + LINES])] + lines[at + LINES:]


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def template(program, folder, source, messages):
    """The prompt, or None, and the error's line."""
    (folder / "messages.json").write_text(json.dumps(messages), encoding="utf-8")
    done = subprocess.run([program, "template", "-f", str(source), "--messages", str(folder / "messages.json"), "--var", 'bos_token="<s>"',
                           "--var", 'eos_token="</s>"'], capture_output=True, check=False)
    return done.stdout.decode() if done.returncode == 0 else None, done.stderr.decode()


def refused(program, folder, env, root):
    """Refused by name: REFUSED, and each filter of jinja2 that docs/templates.md lists as refused. It lists all filters."""
    lines = (root / "docs/templates.md").read_text(encoding="utf-8").splitlines()
    known, unknown = (set(next(line for line in lines if line.startswith(f"| {kind} |")).split("|")[2].split())
                      for kind in ("filters", "refused filters"))
    if not set(env.filters) <= known | unknown or known & unknown:
        sys.exit(f"docs/templates.md and jinja2 differ in the filters {set(env.filters) - known - unknown or known & unknown}")
    cases = [(source, words) for source, words in REFUSED if env.from_string(source).render() is not None]
    for source, words in cases + [(f"\n{{{{ 1|{name} }}}}", f"line 2: there is no filter '{name}'") for name in sorted(unknown)]:
        (folder / "snippet.jinja").write_text(source, encoding="utf-8")
        got, said = template(program, folder, folder / "snippet.jinja", [{"role": "user", "content": "x"}])
        if got is not None or words not in said:
            sys.exit(f"{source!r} is not refused with {words!r}: {got!r} {said!r}")
    print(f"{len(REFUSED)} templates and {len(unknown)} filters are refused by name")


def characters_have_pythons_properties(program, folder):
    """Each character that Python's tables know, but for most Han and Hangul: its kinds, and what repr makes of it. Tables of other
    versions of Unicode than Debian 12's differ in a few."""
    codes = [c for first, last in ((1, 0x3500), (0x4DB0, 0x5000), (0xA000, 0xAC10), (0xD7A0, 0xD800), (0xE000, 0xE010), (0xF900, 0x12000),
                                   (0x1D000, 0x1D800), (0x1E000, 0x20010), (0xE0000, 0xE0200), (0x10FFFE, 0x110000)) for c in range(first, last)]
    text = "".join(c for c in map(chr, codes) if unicodedata.category(c) != "Cn")
    kinds = "isdecimal isdigit isnumeric isalpha isalnum isspace isupper islower".split()
    source = "{% for c in messages[0].content %}" + "".join(f"{{{{ c.{kind}()|int }}}}" for kind in kinds) + "{{ [c]|string|tojson }}\n{% endfor %}"
    (folder / "characters.jinja").write_text(source, encoding="utf-8")
    got, said = template(program, folder, folder / "characters.jinja", [{"role": "user", "content": text}])
    wanted = ["".join(str(int(getattr(c, kind)())) for kind in kinds) + json.dumps(str([c]), ensure_ascii=False) for c in text]
    wrong = [f"{ord(c):X}: wanted {w}, got {g}" for c, w, g in zip(text, wanted, (got or "").split("\n")) if w != g]
    if got is None or wrong and unicodedata.unidata_version == "14.0.0" or len(wrong) > 200:
        sys.exit(f"characters: {said} {len(wrong)} differ: {wrong[:10]}")
    print(f"{len(text)} characters are of Python's kinds, {len(wrong)} differ")


def contents_in_parts(program, folder, env, root):
    """The library's own templates: parts of a content are joined, null is empty, and jinja2 renders the same."""
    roles = ["system", "user", "assistant", "user"]
    texts = ["Be <b>brief</b>.", " Hi\n", "", "caf\u00e9"]
    whole = [{"role": role, "content": text} for role, text in zip(roles, texts)]
    parts = [{"role": m["role"], "content": [{"type": "text", "text": m["content"][:3]}, {"type": "text", "text": m["content"][3:]}]} for m in whole]
    parts[2]["content"] = None
    for path in sorted((root / "src/text/templates").glob("*.jinja")):
        program_text = env.from_string(path.read_text(encoding="utf-8"))
        wanted = program_text.render(messages=parts, bos_token="<s>", eos_token="</s>", add_generation_prompt=True)
        for messages in whole, parts:
            got, said = template(program, folder, path.stem, messages)
            if got != wanted:
                sys.exit(f"{path.stem}: wanted {wanted!r}, got {got!r} {said}")
        for wrong in [{"type": "image"}], [{"type": "text"}], {"a": 1}, 5, ["x"]:
            got, said = template(program, folder, path.stem, [{"role": "user", "content": wrong}])
            if got is not None or "content is" not in said:
                sys.exit(f"{path.stem}: {wrong!r} is not refused: {got!r} {said!r}")
        if template(program, folder, path.stem, [{"role": "user"}])[0] is not None:
            sys.exit(f"{path.stem}: a message without a content is not refused")
        print(f"{path.stem}: parts, null, and what is neither")


def main():
    program, folder, root = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    env = sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    env.filters["tojson"] = tojson
    env.globals["strftime_now"] = NOW.strftime
    folder.mkdir(parents=True, exist_ok=True)
    messages = [{"role": "user", "content": "x"}]
    (folder / "messages.json").write_text(json.dumps(messages), encoding="utf-8")
    for snippet in snippets():
        try:
            wanted = env.from_string(snippet).render(messages=messages, tools=None)
        except Exception as error:  # pylint: disable=broad-exception-caught
            wanted = None
            print(f"jinja2 refuses {snippet!r}: {error}")
        (folder / "snippet.jinja").write_text(snippet, encoding="utf-8")
        done = subprocess.run([program, "template", "-f", str(folder / "snippet.jinja"), "--messages", str(folder / "messages.json"), "--now",
                               NOW.isoformat()], capture_output=True, check=False)
        got = done.stdout.decode() if done.returncode == 0 else None
        if got != wanted:
            sys.exit(f"{snippet!r}: wanted {wanted!r}, got {got!r} {done.stderr.decode()}")
    print(f"{len(snippets())} templates agree")
    refused(program, folder, env, root)
    characters_have_pythons_properties(program, folder)
    env.globals["raise_exception"] = lambda text: text / 0
    contents_in_parts(program, folder, env, root)


main()
