#!/usr/bin/env python3
"""Conversations as Jinja renders them with templates of each family, those of models on this machine included: lariat's text is the
same, and its ids are those of that text with the markers as tokens.
Usage: chat_test.py RENDER_CHAT REPOSITORY FOLDER"""
import datetime
import json
import os
import pathlib
import struct
import subprocess
import sys

import peers

sandbox = peers.package("jinja2.sandbox")
hf = peers.package("tokenizers")

# Written for this test after what the published templates do.
CHATML = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}" \
         "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
LLAMA3 = "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}" \
         "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}" \
         "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
DATED = """{% set date_string = "26 Jul 2024" %}{{ bos_token }}{% set first = messages[0]['role'] == 'system' %}""" \
        "{{ '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: ' + date_string + '\n\n' }}" \
        "{% if first %}{{ messages[0]['content'] | trim }}{% endif %}{{ '<|eot_id|>' }}" + \
        LLAMA3.replace("{% if loop.first %}{{ bos_token }}{% endif %}", "").replace("in messages %}", "in (messages[1:] if first else messages) %}")
LLAMA2 = "{% set system = messages[0]['content'] if messages[0]['role'] == 'system' else none %}" \
         "{% for m in (messages if system is none else messages[1:]) %}" \
         "{% set text = m['content'] if system is none or not loop.first else '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + m['content'] %}" \
         "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + text.strip() + ' [/INST]' }}" \
         "{% else %}{{ ' ' + text.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
TEMPLATES = {
    "chatml": CHATML,
    "chatml_with_system": "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind, it\\'s free.<|im_end|>\n' }}{% endif %}" + CHATML,
    "chatml_trimmed": "{{ bos_token }}" + CHATML.replace("m['content']", "m['content'] | trim"),
    "llama3": LLAMA3,
    "llama3_untrimmed": LLAMA3.replace(" | trim", ""),
    "llama3_dated": DATED,
    "llama3_dated_today": DATED.replace('"26 Jul 2024"', 'strftime_now("%d %b %Y")'),
    "llama2": LLAMA2,
    "llama2_unstripped": LLAMA2.replace(".strip()", ""),
}
CONVERSATIONS = [
    [("user", "Hi there")],
    [("system", "Be brief."), ("user", "2+2?")],
    [("user", " Hi\n"), ("assistant", " yes  "), ("user", "\u2003and \x1f3?\n")],
    [("system", "  S \n"), ("user", "  u1  "), ("assistant", "\na1 "), ("user", " \u00e9\u65e5\U0001f600"), ("assistant", "a2")],
    [("system", ""), ("user", "")],
    [("user", "it's 12345"), ("assistant", "a")],
]
MARKERS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


def gguf_template(path):
    """The string behind tokenizer.chat_template in a GGUF file."""
    data = pathlib.Path(path).read_bytes()[:1 << 26]
    at = data.index(b"tokenizer.chat_template") + len(b"tokenizer.chat_template") + 4
    size = struct.unpack_from("<Q", data, at)[0]
    return data[at + 8:at + 8 + size].decode()


def more_templates(root):
    """Those of models that this machine has, as tests/support/reference.h finds them."""
    config = pathlib.Path(os.environ.get("LARIAT_REFERENCE") or root / "../shared") / "tokenizers/llama3.1/tokenizer_config.json"
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    demo = pathlib.Path(os.environ.get("LARIAT_DEMO_MODEL") or cache / "lariat/SmolLM2-135M-Instruct.Q4_1.gguf")
    if config.is_file():
        yield "released llama3.1", json.loads(config.read_text(encoding="utf-8"))["chat_template"]
    else:
        print("skipped: tokenizers/llama3.1 is not on this machine")
    if demo.is_file():
        yield "demo model", gguf_template(demo)
    else:
        print("skipped: the demo's model is not on this machine, scripts/fetch-model.sh fetches it")


def make_tokenizer(home, template):
    vocab = {marker: i for i, marker in enumerate(MARKERS)}
    for c in sorted(hf.pre_tokenizers.ByteLevel.alphabet()):
        vocab[c] = len(vocab)
    t = hf.Tokenizer(hf.models.BPE(vocab=vocab, merges=[]))
    t.pre_tokenizer, t.decoder = hf.pre_tokenizers.ByteLevel(add_prefix_space=False), hf.decoders.ByteLevel()
    t.add_special_tokens(MARKERS)
    home.mkdir(parents=True, exist_ok=True)
    t.save(str(home / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": template, "model_max_length": 10 ** 30}
    (home / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return t


def main():
    program, root, folder = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    env = sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    env.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    for name, template in [*TEMPLATES.items(), *more_templates(root)]:
        t = make_tokenizer(folder / name.replace(" ", "_"), template)
        for conversation in CONVERSATIONS:
            for reply in False, True:
                messages = [{"role": role, "content": content} for role, content in conversation]
                wanted = env.from_string(template).render(messages=messages, add_generation_prompt=reply, bos_token="<s>", eos_token="</s>")
                done = subprocess.run([program, str(folder / name.replace(" ", "_")), str(int(reply))], input=json.dumps(conversation).encode(),
                                      capture_output=True, check=False)
                if done.returncode != 0:
                    sys.exit(f"{name}: {done.stderr.decode()}")
                text, ids = json.loads(done.stdout)
                if text != wanted:
                    sys.exit(f"{name}: {conversation}: wanted {wanted!r}, got {text!r}")
                if ids != t.encode(wanted, add_special_tokens=False).ids:
                    sys.exit(f"{name}: {conversation}: other ids than those of the text")
        print(f"{name}: {2 * len(CONVERSATIONS)} conversations agree")


main()
