# ruff: noqa: E501, RUF001, SIM905
"""Train tiny tokenizers and record what transformers' fast tokenizers make of awkward texts.

Run by hand; the outputs are committed, so the tests need none of these packages:

    python -m venv /tmp/reference && /tmp/reference/bin/pip install transformers tokenizers sentencepiece protobuf
    /tmp/reference/bin/python tests/reference/make_tokenizers.py

Writes `tokenizers/`, beside this file; README.md says what each output is. `make_tokenizers.py CLASS DIR OUTPUT` records
the same texts for a real tokenizer instead. That of DeBERTa is recorded by itself, in an environment with transformers 4.57:

    python tests/reference/make_tokenizers.py deberta_v2
"""

import io
import json
import random
import shutil
import sys
from pathlib import Path

import sentencepiece
import tokenizers
import transformers

HERE = Path(__file__).resolve().parent / "tokenizers"
VERSIONS = {m.__name__: m.__version__ for m in (transformers, tokenizers, sentencepiece)}

WORDS = """the cat sat on a mat and ran to its house in the morning while seven children, tired of waiting, were singing
tokenizers split unhappily affable naïve café résumé straße größe ÉTÉ fiancée 1,000 2,5 3.14 2024 it's we'll don't
“quoted” ``word'' — dash… 東京 北京 我爱 日本語 こんにちは カタカナ 안녕하세요 мама мыла раму ελληνικά שלום عليكم नमस्ते ไทย 🙂 👩‍👧 ½ ﬁne""".split()

# Rules of a normalisation small enough to commit: sequences, expansions, deletions, as nmt_nfkc has them.
NORMALISATION = {
    "\t": " ", "\n": " ", "\r": " ", "\u00a0": " ", "\u3000": " ", "\u2028": " ", "\u0001": "", "\u007f": "", "\u200b": " ",
    "\ufb01": "fi", "½": "1⁄2", "Ａ": "A", "１": "1", "e\u0301": "é", "ｶ\uff9e": "ガ", "…": "...", "İ": "I", "㍿": "株式会社",
}  # fmt: skip

TEXTS = [
    "",
    " ",
    " \t\n\u00a0\u3000 ",
    "The cat sat on the mat.",
    "  the   cat\t\tsat \n on  ",
    "unhappily unaffable retokenizers",
    "Café CAFÉ cafe\u0301 naïve Résumé İ straße ŒUVRE",
    "a\u0301\u0302\u0303 e\u0301\u0301 \u0301 o\u0308\u0304\u0301 क्षि हिन्दी नमस्ते",
    "c\x00a\ufffdt\u200b\u0001\tthe\r\ncat\x7f\x1b[0m sat\u00a0on\u3000mat\u200d\u2028x\ufeff",
    "🙂 🙂🙂 👩\u200d👧 👩🏽\u200d🚀 🏳️\u200d🌈 🇩🇪🇫🇷 cat🙂",
    "我爱北京cat日本語カタカナｶ\uff9e안녕하세요 한\u1112\u1161\u11ab ㍿𠀀",
    "שָׁלוֹם עליכם \u202bمرحبا\u202c العَرَبِيَّة 1,000٣",
    "мама мыла рамуcatелληνικά ไทยไม่มี",
    "1,000 2,5 3.14, 9, ,9 12,345,678 1/2 ½ ² １Ａ ﬁne",
    "it's we'll don't I'M \u2019s “quoted” ``word'' '' `` — dash… !?!?",
    "<s> </s> <unk> <pad> <mask> <cls> <sep> [CLS] [SEP] [MASK] <|endoftext|> <eop> x<mask>y  <mask>  z<special>w",
    "▁the ▁▁ cat▁ Ġthe <0x41> <0xE2> Ċ",
    "zebra Ж x" + "q" * 120,
    "\U0010ffff\U000e0041\u0378\ue000",
    "the\u0000",
    " leading and trailing ",
    "newline\n\n\nthe\r\n\r\ncat",
]
PAIRS = [("The cat", "sat on Café 爱."), ("", "the mat"), ("the mat", ""), (" a ", " b "), ("🙂", "<mask> 東京")]
# A text repeated; only length and hashes of its record are kept.
LONG = [("q", 100_000), ("thecat", 16_667), ("爱é🙂\u200d", 25_000), ("the cat, ", 3_000)]


def fnv1a(values):
    """Hash a list of integers, each as four bytes, little end first."""
    state = 0xCBF29CE484222325
    for value in values:
        for byte in int(value).to_bytes(4, "little"):
            state = (state ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{state:016x}"


def record(tokenizer):
    """What a tokenizer makes of the texts; offsets are in characters, flat."""

    def encode(text, pair=None):
        # As a batch of one: the call on single strings takes an empty second text for none.
        batch = tokenizer(
            [text], None if pair is None else [pair], return_offsets_mapping=True, return_token_type_ids=True
        )
        return batch["input_ids"][0], batch["token_type_ids"][0], [n for o in batch["offset_mapping"][0] for n in o]

    cases = []
    for text, pair in [(text, None) for text in TEXTS] + PAIRS:
        ids, segments, offsets = encode(text, pair)
        case = {"text": text, "pair": pair, "ids": ids, "offsets": offsets}
        # Most texts have one segment; it goes without saying.
        cases.append(case | ({"segments": segments} if any(segments) else {}))
    long = []
    for text, times in LONG:
        ids, _, offsets = encode(text * times)
        long.append({"text": text, "times": times, "n": len(ids), "ids": fnv1a(ids), "offsets": fnv1a(offsets)})
    return {"vocab_size": max(tokenizer.get_vocab().values()) + 1, "cases": cases, "long": long}


def sentences():
    generator = random.Random(0)
    return [" ".join(generator.choices(WORDS, k=8)) for _ in range(400)]


def sentence_piece(path, **options):
    buffer = io.BytesIO()
    path.parent.mkdir(exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences()), model_writer=buffer, minloglevel=2, num_threads=1,
        **{"character_coverage": 1.0, "vocab_size": 400, "hard_vocab_limit": False, **options},
    )  # fmt: skip
    path.write_bytes(buffer.getvalue())


def byte_bpe(folder, specials):
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(sentences(), vocab_size=500, show_progress=False, special_tokens=specials)
    folder.mkdir(exist_ok=True)
    tokenizer.save_model(str(folder))


def word_piece(folder, specials):
    tokenizer = tokenizers.BertWordPieceTokenizer(unk_token="[UNK]")
    tokenizer.train_from_iterator(sentences(), vocab_size=400, show_progress=False, special_tokens=specials)
    folder.mkdir(exist_ok=True)
    tokenizer.save_model(str(folder))


def write_json(path, content, indent=None):
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=True) + "\n", encoding="utf-8", newline="\n")


def load(family, folder, **options):
    return getattr(transformers, family).from_pretrained(folder, **options)


# What transformers 4.57 makes of it: 5.24 leaves the normalisation of the file out.
DEBERTA_V2 = [{}, {"do_lower_case": True, "split_by_punct": True}]

# Directory, class, tokenizer_config.json.
CASES = [
    ("gpt2", "GPT2Tokenizer", {}),
    ("gpt2", "GPT2Tokenizer", {"add_prefix_space": True, "pad_token": "<pad>", "add_bos_token": True}),
    ("roberta", "RobertaTokenizer", {}),
    ("roberta", "RobertaTokenizer", {"add_prefix_space": True, "trim_offsets": False}),
    ("gpt2", "Qwen2Tokenizer", {}),
    ("xlnet", "XLNetTokenizer", {}),
    ("xlnet", "XLNetTokenizer", {"do_lower_case": True}),
    ("albert", "AlbertTokenizer", {}),
    ("albert", "AlbertTokenizer", {"do_lower_case": False, "keep_accents": True}),
    ("xlm_roberta", "XLMRobertaTokenizer", {}),
    ("xlm_roberta", "CamembertTokenizer", {}),
    ("llama", "LlamaTokenizer", {}),
    ("llama", "LlamaTokenizer", {"add_bos_token": True, "add_eos_token": True, "legacy": True}),
    ("llama", "LlamaTokenizer", {"add_bos_token": True, "add_prefix_space": False}),
    ("mpnet", "MPNetTokenizer", {}),
    ("mpnet", "MPNetTokenizer", {"do_lower_case": False, "tokenize_chinese_chars": False}),
]


def main():
    transformers.logging.set_verbosity_error()
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    # The models keep its path.
    rules = Path("/tmp/rules.tsv")
    rules.write_text(
        "".join(
            f"{' '.join(f'{ord(c):X}' for c in a)}\t{' '.join(f'{ord(c):X}' for c in b)}\n"
            for a, b in NORMALISATION.items()
        )
    )
    byte_bpe(HERE / "gpt2", ["<|endoftext|>"])
    byte_bpe(HERE / "roberta", ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    common = {"normalization_rule_tsv": str(rules)}
    controls = ["<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"]
    sentence_piece(HERE / "xlnet/spiece.model", control_symbols=controls, user_defined_symbols=["<special>"], **common)
    sentence_piece(
        HERE / "albert/spiece.model", pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols=["[CLS]", "[SEP]", "[MASK]"],
        **common,
    )  # fmt: skip
    sentence_piece(HERE / "xlm_roberta/sentencepiece.bpe.model", **common)
    sentence_piece(
        HERE / "llama/tokenizer.model", model_type="bpe", byte_fallback=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, split_digits=True, character_coverage=0.98, vocab_size=520,
    )  # fmt: skip
    sentence_piece(
        HERE / "deberta_v2/spm.model", pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]",
        eos_piece="[SEP]", unk_piece="[UNK]", **common,
    )  # fmt: skip
    rules.unlink()
    word_piece(HERE / "mpnet", ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"])
    write_records(HERE / "expected.json", CASES)


def write_records(path, cases):
    records = []
    for directory, family, config in cases:
        tokenizer = load(family, HERE / directory, **config)
        named = {"tokenizer_class": family.removesuffix("Fast"), **config}
        records.append({"directory": directory, "config": named} | record(tokenizer))
    write_json(path, {"versions": VERSIONS, "records": records})


if __name__ == "__main__":
    if sys.argv[1:] == ["deberta_v2"]:
        cases = [("deberta_v2", "DebertaV2TokenizerFast", config) for config in DEBERTA_V2]
        write_records(HERE / "deberta_v2/expected.json", cases)
    elif len(sys.argv) > 1:
        write_json(Path(sys.argv[3]), {"versions": VERSIONS, "records": [record(load(sys.argv[1], sys.argv[2]))]})
    else:
        main()
