"""Write `gguf/pre_tokenizers.json` and `gguf/word_piece.json`: what tokenizers and transformers make of texts.

Run by hand, in an environment with tokenizers 0.23 and transformers 5.24 or later:

    python tests/reference/make_gguf_tokenizers.py
"""

import json
from pathlib import Path

from tokenizers import Regex, pre_tokenizers
from transformers import BertTokenizer
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

OUT = Path(__file__).parent / "gguf"

# The steps of the models' own tokenizer.json where transformers knows no pattern; None is the splitting of GPT-2, which
# tokenizers has built in.
DIGIT, DIGITS = r"\p{N}", r"\p{N}{1,3}"
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
ENDS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
EAST = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
DEEPSEEK3 = (
    DIGITS,
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"""
    r"""[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|""" + ENDS,
)
DEEPSEEK = (
    r"[\r\n]",
    # Letters with a case of Unicode 11, in a list there.
    "\\s?(?:(?![\U0001d400-\U0001d7ff])[\\p{Lu}\\p{Ll}\\p{Lt}])+",
    "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
    r"\s+$",
    EAST,
    DIGIT,
)
STEPS = {
    (None,): ("gpt-2", "phi-2", "a.x-4.0", "mellum", "trillion", "granite-docling", "exaone4", "roberta-bpe"),
    (DIGIT, None): ("smollm", "starcoder", "refact", "codeshell", "exaone", "minerva-7b"),
    (GGUF_PRE_TOKENIZER_SPLITS["llama-bpe"],): ("glm4", "chatglm-bpe"),
    (r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + ENDS,): ("ufakzeka",),
    (CONTRACTIONS + r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|" + ENDS,): ("seed-coder",),
    (DIGITS, CONTRACTIONS + r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|" + ENDS): ("minicpm5",),
    DEEPSEEK: ("deepseek-llm",),
    (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", EAST, DIGIT): ("deepseek-coder",),
    DEEPSEEK3: ("deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"),
    (" ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+", DIGIT): ("viking",),
}
# Of the architectures that are read here.
KNOWN_TO_TRANSFORMERS = (
    *("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "midm-2.0", "smaug-bpe", "dbrx", "tekken", "qwen2"),
    *("deepseek-r1-qwen", "f2llmv2", "kormo", "megrez", "qwen35", "gpt-4o", "llama4", "kanana2"),
)
AWKWARD = (
    "Don't they'LL 'tis IT'S 1234567 3.14159\n\n\t x=1;y[2]={3:'4'}  naïve cafe\u0301 \u01c5ungla "
    "\u1f48\u0394\u03a5\u03a3\u03a3\u0395\u038e\u03a3 \U0001d400\U0001d41b 東京は ひらがな, 한국어。 "
    "हिन्दी नमस्ते\u06d4 (a|b)\u2026 ١٢٣½² «ok» --\r\n  \t \n end/\n\nHTTPServer camelCase_ 🙂🏽 İstanbul'da   "
)
WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]", "<S>", "<T>", "the", "cat", "sat", "in", "paris"),
    *("cafe", "café", "\u211d", "##\u211d", "##s", "The", "Paris"),
)
TEXTS = ("The Cat sat in Paris", "the cats\u00a0café \u211d\u211d <S>", "CAFE\u0301 [MASK]")


def write(name: str, content) -> None:
    (OUT / name).write_text(json.dumps(content, indent=0) + "\n")


def splittings() -> None:
    """Write the pieces of AWKWARD by the name of the pre-tokenizer."""
    steps_of = {name: steps for steps, names in STEPS.items() for name in names}
    steps_of |= {name: (GGUF_PRE_TOKENIZER_SPLITS[name],) for name in KNOWN_TO_TRANSFORMERS}
    pieces = {}
    for name, patterns in steps_of.items():
        steps = [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated")
            if pattern
            else pre_tokenizers.ByteLevel(add_prefix_space=False)
            for pattern in patterns
        ]
        found = pre_tokenizers.Sequence(steps).pre_tokenize_str(AWKWARD)
        pieces[name] = [AWKWARD[start:end] for _, (start, end) in found]
        assert "".join(pieces[name]) == AWKWARD
    write("pre_tokenizers.json", pieces)


def word_pieces() -> None:
    """Write the ids of TEXTS with the first words, by whether text is lower-cased and its accents are stripped."""
    cases = []
    for n_words, lower, strip in [(18, True, None), (18, True, False), (18, False, None), (20, False, None)]:
        vocabulary = {word: i for i, word in enumerate(WORDS[:n_words])}
        tokenizer = BertTokenizer(vocab=vocabulary, do_lower_case=lower, strip_accents=strip)
        for text in TEXTS:
            ids = tokenizer(text)["input_ids"]
            cases.append({"n_words": n_words, "lower": lower, "strip": strip, "text": text, "ids": ids})
    write("word_piece.json", {"words": WORDS, "cases": cases})


if __name__ == "__main__":
    splittings()
    word_pieces()
