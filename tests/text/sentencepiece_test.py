#!/usr/bin/env python3
"""Models trained by the sentencepiece package: lariat's ids are the package's, for every kind of option that lariat reads.
Usage: sentencepiece_test.py PROGRAM REPOSITORY FOLDER"""
import pathlib
import sys

import peers

spm = peers.package("sentencepiece")

PLAIN = {"normalization_rule_name": "identity"}
KINDS = {
    "llama": dict(PLAIN, byte_fallback=True, remove_extra_whitespaces=False, split_digits=True, allow_whitespace_only_pieces=True),
    "no_bytes": dict(PLAIN, remove_extra_whitespaces=False),
    "no_prefix": dict(PLAIN, byte_fallback=True, add_dummy_prefix=False, remove_extra_whitespaces=False),
    "spaces_made_one": dict(PLAIN, byte_fallback=True),
    "spaces_made_one_no_bytes": dict(PLAIN, add_dummy_prefix=False),
    "symbols": dict(PLAIN, byte_fallback=True, remove_extra_whitespaces=False,
                    user_defined_symbols=["<sym>", "return", "ab", "abc", "  ", "\u2581the", "the\u2581", "\u65e5\u672c"]),
    "symbols_spaces_made_one": dict(PLAIN, user_defined_symbols=["<sym>", "  x", "y  ", "in", " "]),
    "across_words": dict(PLAIN, byte_fallback=True, split_by_whitespace=False, remove_extra_whitespaces=False),
    "unescaped": dict(PLAIN, byte_fallback=True, remove_extra_whitespaces=False),
}


def train(lines, prefix, options):
    spm.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_prefix=str(prefix), model_type="bpe", vocab_size=1500,
                                   character_coverage=0.99, minloglevel=2, hard_vocab_limit=False, **options)


def stop_escaping(path):
    """Switches escape_whitespaces off, which the trainer does not offer: field 5 of normalizer_spec, which is field 3 of the model.
    A message that comes twice in a protocol buffer is merged."""
    path.write_bytes(path.read_bytes() + b"\x1a\x02\x28\x00")


def check_kind(program, lines, folder, name, options):
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    train(lines, home / "tokenizer", options)
    if name == "unescaped":
        stop_escaping(home / "tokenizer.model")
    peer = spm.SentencePieceProcessor(model_file=str(home / "tokenizer.model"))
    tried = peers.texts(lines, 2500, 1) + ["<sym>" + line + "<sym>ab  abcab return" for line in lines[:200]]
    peers.compare(name, tried, peer.encode(tried), peers.lariat_ids(program, home, tried))
    for line in tried[:25]:
        ids = peer.encode(line)
        if ids and peers.lariat_text(program, home, ids) != peer.decode(ids):
            sys.exit(f"{name}: decoding {ids}: wanted {peer.decode(ids)!r}, got {peers.lariat_text(program, home, ids)!r}")


def check_refusals(program, lines, folder):
    """What would give other ids is refused by its name."""
    for name, options, said in [("nfkc", {"normalization_rule_name": "nmt_nfkc", "model_type": "bpe"}, "nmt_nfkc"),
                                ("unigram", dict(PLAIN, model_type="unigram"), "unigram"),
                                ("suffix", dict(PLAIN, model_type="bpe", treat_whitespace_as_suffix=True), "treat_whitespace_as_suffix")]:
        home = folder / name
        home.mkdir(parents=True, exist_ok=True)
        spm.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_prefix=str(home / "tokenizer"), vocab_size=400, minloglevel=2,
                                       hard_vocab_limit=False, **options)
        line = peers.refusal(program, home)
        if said not in line:
            sys.exit(f"{name}: the refusal does not name {said}: {line}")
        print(f"{name}: refused")


def main():
    program, root, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    lines = peers.corpus(root)
    for name, options in KINDS.items():
        check_kind(program, lines, folder, name, options)
    check_refusals(program, lines, folder)


main()
