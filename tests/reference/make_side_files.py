# ruff: noqa: E501
"""Record what AutoTokenizer gives where other files lie beside a `tokenizer.json`.

Run by hand; the outputs are committed, so the tests need none of these packages:

    pip install transformers==4.57.6 tokenizers==0.22.2 sentencepiece protobuf
    python tests/reference/make_side_files.py
    pip install transformers==5.24.0 && python tests/reference/make_side_files.py --compare

Writes `side_files/`, beside this file: a small `tokenizer.json` of each family, and `expected.json`. The second form
writes nothing and prints where another version of transformers gives something else; docs/tokenizers.md tells of it.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import tokenizers
import transformers
from transformers import AutoTokenizer

HERE = Path(__file__).resolve().parent
OUT = HERE / "side_files"
MODEL_TYPES = {"bert": "bert", "gpt2": "gpt2", "roberta": "roberta", "llama": "llama", "xlnet": "xlnet", "albert": "albert",
    "xlm_roberta": "xlm-roberta", "qwen2": "qwen2", "mpnet": "mpnet", "deberta_v2": "deberta-v2"}  # fmt: skip
TEXTS = [
    "The cat sat on the mat",
    " the Café cafe 北京cat",
    "the new the<new>cat <NEW> x <pad> y",
    "the <mask> cat [MASK] x<mask>y",
    "singing cat [SEP] </s> the <|endoftext|> <s>",
    "y  <mask> x  [MASK]  <|endoftext|>",
    "y  \uff1cmask\uff1e",
    "",
]
PAIR = ("The cat", "sat on the mat")
NEW = {"content": "<new>", "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
PLAIN = NEW | {"special": False, "normalized": True}


def config(**fields):
    return {"tokenizer_config.json": fields}


BERT = {"tokenizer_class": "BertTokenizer"}
GENERIC = {"tokenizer_class": "PreTrainedTokenizerFast"}
CASED, UNCASED = {"/normalizer/lowercase": False}, {"/normalizer/lowercase": True}
PREFIX = {"/pre_tokenizer/add_prefix_space": True}
SPACES = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}  # fmt: skip
MASK = NEW | {"content": "<mask>"}
WRONG = {
    **dict.fromkeys(("do_lower_case", "strip_accents", "tokenize_chinese_chars", "split_special_tokens"), ("no", 0)),
    **dict.fromkeys(("add_prefix_space", "trim_offsets", "add_bos_token", "add_eos_token", "legacy"), ("no",)),
    "model_max_length": ("5", 5.5, 0, -1, True, []),
    "cls_token": (3, [], {}, True, {"content": "[CLS]", "lstrip": 1}),
    "additional_special_tokens": ("<x>", [3], {}),
    "extra_special_tokens": ("<x>", {"image_token": 3}),
    "added_tokens_decoder": ([], "x"),
    "model_input_names": ("x", [3]),
}


def shown(value):
    return json.dumps(value, separators=(",", ":"))


# Base, what is changed in its tokenizer.json, files beside it; and where warmstart refuses them, a part of the message.
CASES = [
    # Nothing beside it, or nothing that matters.
    ("bert", {}, {}),
    ("bert", CASED, {}),
    ("bert", CASED, config(**BERT)),
    ("bert", CASED, config(**GENERIC)),
    ("bert", CASED, config()),
    ("gpt2", {}, {}),
    ("gpt2", PREFIX, {}),
    ("gpt2", PREFIX, config(**GENERIC)),
    ("roberta", PREFIX, {}),
    ("llama", {}, {}),
    ("xlnet", {}, {}),
    ("albert", {}, {}),
    ("xlm_roberta", {}, {}),
    ("qwen2", {}, {}),
    # BERT's normalisation.
    ("bert", UNCASED, config(**BERT, do_lower_case=False)),
    ("bert", UNCASED, config(tokenizer_class="BertTokenizerFast", do_lower_case=False)),
    ("bert", UNCASED, config(do_lower_case=False)),
    ("bert", UNCASED, config(**GENERIC, do_lower_case=False)),
    ("bert", UNCASED, config(tokenizer_class="DistilBertTokenizer", do_lower_case=False)),
    ("bert", UNCASED, config(tokenizer_class="ElectraTokenizer", do_lower_case=False)),
    ("bert", UNCASED, config(tokenizer_class="BigBirdTokenizer", do_lower_case=False), 'tokenizer_class is "BigBirdTokenizer"'),
    ("mpnet", {}, {}),
    ("mpnet", {}, config(tokenizer_class="MPNetTokenizer")),
    ("mpnet", UNCASED, config(tokenizer_class="MPNetTokenizer", do_lower_case=False)),
    ("mpnet", {}, config(tokenizer_class="MPNetTokenizer", tokenize_chinese_chars=False, strip_accents=False)),
    ("mpnet", {}, config(tokenizer_class="MPNetTokenizer", mask_token="<mask>", pad_token="[PAD]")),
    ("deberta_v2", {}, {}),
    ("deberta_v2", {}, config(tokenizer_class="DebertaV2Tokenizer", mask_token="[MASK]")),
    ("deberta_v2", {}, config(tokenizer_class="DebertaV2Tokenizer", do_lower_case=True, split_by_punct=True)),
    ("bert", UNCASED, config(tokenizer_class="RobertaTokenizer", do_lower_case=False)),
    ("bert", CASED, config(**BERT, do_lower_case=True)),
    ("bert", {}, config(**BERT, strip_accents=False)),
    ("bert", CASED, config(**BERT, do_lower_case=False, strip_accents=True)),
    ("bert", {"/normalizer/strip_accents": False}, config(**BERT)),
    ("bert", {}, config(**BERT, tokenize_chinese_chars=False)),
    ("bert", {"/normalizer/handle_chinese_chars": False}, config(**BERT)),
    ("bert", {"/normalizer/clean_text": False}, config(**BERT, do_lower_case=False)),
    ("bert", {"/normalizer": {"type": "Lowercase"}}, config(**BERT, do_lower_case=False)),
    ("bert", {"/normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}]}},
     config(**BERT, do_lower_case=False)),
    ("bert", {}, config(**BERT, do_basic_tokenize=False, never_split=["cat"])),
    # Prefix space.
    ("gpt2", {}, config(tokenizer_class="GPT2Tokenizer", add_prefix_space=True)),
    ("gpt2", PREFIX, config(tokenizer_class="GPT2Tokenizer", add_prefix_space=False)),
    ("gpt2", PREFIX, config(tokenizer_class="GPT2Tokenizer")),
    ("gpt2", {}, config(**GENERIC, add_prefix_space=True)),
    ("gpt2", {}, config(add_prefix_space=True)),
    ("roberta", {}, config(tokenizer_class="RobertaTokenizer", add_prefix_space=True)),
    ("roberta", {}, config(tokenizer_class="RobertaTokenizer", add_prefix_space=True, trim_offsets=False)),
    ("roberta", PREFIX, config(tokenizer_class="RobertaTokenizer")),
    ("qwen2", {}, config(tokenizer_class="Qwen2Tokenizer", add_prefix_space=True)),
    ("xlnet", {}, config(tokenizer_class="XLNetTokenizer", add_prefix_space=False)),
    ("xlm_roberta", {}, config(tokenizer_class="XLMRobertaTokenizer", add_prefix_space=False)),
    ("llama", {}, config(tokenizer_class="LlamaTokenizer", add_prefix_space=False)),
    ("llama", {}, config(tokenizer_class="LlamaTokenizer", add_prefix_space=True)),
    ("llama", {}, config(**GENERIC, add_prefix_space=False)),
    ("llama", {}, config(tokenizer_class="LlamaTokenizer", legacy=True)),
    ("llama", {}, config(tokenizer_class="LlamaTokenizer", legacy=False)),
    ("llama", {}, {"tokenizer.model": "llama"} | config(tokenizer_class="LlamaTokenizer", add_prefix_space=False)),
    ("llama", {}, {"tokenizer.model": "llama"} | config(tokenizer_class="LlamaTokenizer", add_prefix_space=True)),
    ("llama", {}, {"tokenizer.model": "llama"}
     | config(tokenizer_class="LlamaTokenizer", add_prefix_space=False, legacy=False)),
    ("llama", {}, {"tokenizer.model": "llama"}
     | config(tokenizer_class="LlamaTokenizer", add_prefix_space=True, legacy=False)),
    ("llama", {"/pre_tokenizer/prepend_scheme": "never"}, {"tokenizer.model": "llama"}
     | config(tokenizer_class="LlamaTokenizer", add_prefix_space=True, legacy=False)),
    ("llama", {"/normalizer": SPACES, "/pre_tokenizer": None}, {"tokenizer.model": "llama"}
     | config(tokenizer_class="LlamaTokenizer", add_prefix_space=False)),
    # Case and accents of unigram models.
    ("albert", {}, config(tokenizer_class="AlbertTokenizer", do_lower_case=False)),
    ("albert", {}, config(tokenizer_class="AlbertTokenizer", keep_accents=True)),
    ("xlnet", {}, config(tokenizer_class="XLNetTokenizer", do_lower_case=True)),
    # Beginning and end.
    ("gpt2", {}, config(tokenizer_class="GPT2Tokenizer", add_bos_token=True)),
    ("gpt2", {}, config(**GENERIC, add_bos_token=True, add_eos_token=True, bos_token="<|endoftext|>")),
    ("llama", {}, config(tokenizer_class="LlamaTokenizer", add_bos_token=False)),
    ("llama", {}, config(tokenizer_class="LlamaTokenizer", add_bos_token=True, add_eos_token=True)),
    ("llama", {}, config(**GENERIC)),
    ("llama", {}, config(**GENERIC, add_bos_token=True, add_eos_token=True, bos_token="<s>", eos_token="</s>")),
    ("llama", {}, config(tokenizer_class="LlamaTokenizer", bos_token="<new>")),
    ("bert", {}, config(**BERT, add_bos_token=True, bos_token="[CLS]")),
    ("bert", {}, config(**BERT, sep_token="<new>")),
    ("roberta", {}, config(tokenizer_class="RobertaTokenizer", sep_token="<new>")),
    # Added tokens.
    ("bert", {}, config(**BERT, added_tokens_decoder={"N": NEW})),
    ("bert", {}, config(**BERT, added_tokens_decoder={"N": PLAIN | {"content": "new"}}), "has id 87"),
    ("bert", {}, config(**BERT, added_tokens_decoder={"N": PLAIN | {"content": "new", "single_word": True}}), "has id 87"),
    ("bert", {}, config(**BERT, added_tokens_decoder={"N": PLAIN | {"content": "new", "lstrip": True, "rstrip": True}}), "has id 87"),
    ("bert", {}, config(**BERT, added_tokens_decoder={"N": PLAIN, "M": NEW | {"content": "<NEW>"}})),
    ("bert", {}, config(**BERT, added_tokens_decoder={"9999": NEW}), "has id 9999"),
    ("bert", {}, config(**BERT, added_tokens_decoder={"5": NEW}), "has id 5"),
    ("bert", {}, config(**BERT, added_tokens_decoder={"4": NEW | {"content": "[MASK]", "lstrip": True}})),
    ("bert", {}, config(**BERT, added_tokens_decoder={"W": PLAIN | {"content": "cat"}})),
    ("roberta", {}, config(tokenizer_class="RobertaTokenizer", added_tokens_decoder={"N": NEW})),
    ("gpt2", {}, config(tokenizer_class="GPT2Tokenizer", added_tokens_decoder={"N": NEW, "M": NEW | {"content": "<NEW>"}})),
    ("llama", {}, config(tokenizer_class="LlamaTokenizer", added_tokens_decoder={"N": NEW})),
    ("xlm_roberta", {}, config(tokenizer_class="XLMRobertaTokenizer", added_tokens_decoder={"N": NEW})),
    ("albert", {}, config(tokenizer_class="AlbertTokenizer", added_tokens_decoder={"N": NEW})),
    ("bert", {}, {"added_tokens.json": {"<new>": "N"}}),
    ("bert", {}, {"added_tokens.json": {"<new>": 9999}} | config(**BERT), "has id 9999"),
    ("bert", {}, {"added_tokens.json": {"[MASK]": 4}} | config(**BERT)),
    ("bert", {}, {"added_tokens.json": {"cat": "W"}} | config(**BERT)),
    ("bert", {}, {"added_tokens.json": {"<new>": "N"}} | config(**BERT, added_tokens_decoder={})),
    ("gpt2", {}, {"added_tokens.json": {"<new>": "N", "<NEW>": "M"}} | config(tokenizer_class="GPT2Tokenizer")),
    ("llama", {}, {"added_tokens.json": {"<new>": "N"}} | config(tokenizer_class="LlamaTokenizer")),
    # Special tokens.
    ("bert", {}, config(**BERT, additional_special_tokens=["<new>", "<NEW>"])),
    ("bert", {}, config(**BERT, additional_special_tokens=["<new>", "<new>", "cat"])),
    ("bert", {}, config(**BERT, additional_special_tokens=[NEW | {"lstrip": True, "__type": "AddedToken"}])),
    ("bert", {}, config(**BERT, extra_special_tokens={"image_token": "<new>"})),
    ("bert", {}, config(**BERT, extra_special_tokens=["<new>"])),
    ("bert", {}, config(**BERT, extra_special_tokens=[])),
    ("bert", {}, config(**BERT, mask_token="<new>")),
    ("bert", {}, config(**BERT, mask_token="<mask>", pad_token="<pad>")),
    ("bert", {}, config(**BERT, mask_token=NEW | {"content": "<mask>", "lstrip": True, "__type": "AddedToken"})),
    ("bert", {}, config(**BERT, mask_token={"content": "[MASK]", "lstrip": True, "rstrip": True, "normalized": False,
     "single_word": False, "__type": "AddedToken"})),
    ("bert", {}, config(**BERT, mask_token=None)),
    ("bert", {}, config(**GENERIC)),
    ("gpt2", {}, config(**GENERIC, pad_token="<pad>", eos_token="<|endoftext|>")),
    ("gpt2", {}, config(tokenizer_class="GPT2Tokenizer", pad_token="<pad>")),
    ("gpt2", {}, config(tokenizer_class="GPT2Tokenizer", bos_token="<s>", eos_token="</s>")),
    ("gpt2", {}, config(tokenizer_class="RobertaTokenizer")),
    ("roberta", {"/added_tokens/4/lstrip": False}, config(tokenizer_class="RobertaTokenizer")),
    ("roberta", {"/added_tokens/4/lstrip": False}, config(tokenizer_class="RobertaTokenizer", mask_token="<mask>")),
    ("roberta", {"/added_tokens/4/lstrip": False}, config(**GENERIC, mask_token="<mask>")),
    ("roberta", {"/added_tokens/4/lstrip": False}, {}),
    ("roberta", {}, config(tokenizer_class="RobertaTokenizer", mask_token="<mask>", added_tokens_decoder={})),
    ("llama", {}, config(tokenizer_class="LlamaTokenizer", pad_token="<pad>")),
    ("xlnet", {}, config(tokenizer_class="XLNetTokenizer", additional_special_tokens=["<new>"])),
    ("albert", {}, config(tokenizer_class="AlbertTokenizer", mask_token="<mask>")),
    ("bert", {}, {"special_tokens_map.json": {"mask_token": "<mask>"}} | config(**BERT)),
    ("bert", {}, {"special_tokens_map.json": {"mask_token": "<mask>"}} | config(**BERT, mask_token="[MASK]")),
    ("bert", {}, {"special_tokens_map.json": {"mask_token": "<mask>"}} | config(**BERT, added_tokens_decoder={})),
    ("bert", {}, {"special_tokens_map.json": {"additional_special_tokens": ["<new>"]}}
     | config(**BERT, additional_special_tokens=["<NEW>"])),
    ("bert", {}, {"special_tokens_map.json": {"additional_special_tokens": [{"content": "<new>", "lstrip": True,
     "rstrip": False, "normalized": False, "single_word": False}]}} | config(**BERT)),
    ("bert", {}, {"special_tokens_map.json": {"mask_token": "<mask>"}}),
    ("gpt2", {}, {"special_tokens_map.json": {"pad_token": "<pad>"}} | config(tokenizer_class="GPT2Tokenizer")),
    ("bert", {}, {"special_tokens_map.json": {"additional_special_tokens": ["<new>"]}, "added_tokens.json": {"<new>": "N"}}
     | config(**BERT)),
    ("bert", {"/truncation": {"direction": "Left", "max_length": 5, "strategy": "LongestFirst", "stride": 0}}, config(**BERT)),
    ("bert", {"/truncation": {"direction": "Left", "max_length": 5, "strategy": "OnlyFirst", "stride": 0}},
     config(**BERT, truncation_side="right")),
    ("roberta", {}, config(tokenizer_class="RobertaTokenizer", truncation_side="left")),
    # The list of added tokens against what the class assumes.
    ("xlm_roberta", {}, config()),
    ("xlm_roberta", {}, config(tokenizer_class="XLMRobertaTokenizer")),
    ("xlnet", {}, config()),
    ("xlnet", {}, config(tokenizer_class="XLNetTokenizer")),
    *[("roberta", {"/added_tokens/4/lstrip": json_strips}, config(tokenizer_class="RobertaTokenizer", **named,
       added_tokens_decoder={"4": MASK | {"lstrip": list_strips}}))
      for json_strips in (True, False) for list_strips in (True, False) for named in ({}, {"mask_token": "<mask>"})],
    *[("albert", {"/added_tokens/4/lstrip": json_strips}, config(tokenizer_class="AlbertTokenizer",
       added_tokens_decoder={"4": NEW | {"content": "[MASK]", "lstrip": list_strips}}))
      for json_strips in (True, False) for list_strips in (True, False)],
    *[("qwen2", {"/added_tokens/0/lstrip": json_strips}, config(tokenizer_class="Qwen2Tokenizer", **listed, **named))
      for json_strips in (True, False)
      for listed in ({}, {"added_tokens_decoder": {"0": NEW | {"content": "<|endoftext|>", "lstrip": True}}})
      for named in ({}, {"eos_token": "<|endoftext|>"})],
    ("bert", {}, config(**BERT, split_special_tokens=True, added_tokens_decoder={"4": PLAIN | {"content": "[MASK]"}})),
    ("bert", {}, config(**GENERIC, split_special_tokens=True, added_tokens_decoder={"4": PLAIN | {"content": "[MASK]"}}),
     "split_special_tokens is true, and added_tokens_decoder"),
    ("bert", {"/added_tokens/1/special": False}, config(**BERT)),
    ("llama", {"/added_tokens/2/special": False}, config(tokenizer_class="LlamaTokenizer", split_special_tokens=True)),
    ("xlm_roberta", {}, config(**GENERIC, added_tokens_decoder={"0": NEW | {"content": "<s>", "normalized": True}})),
    ("xlm_roberta", {}, config(tokenizer_class="XLMRobertaTokenizer",
     added_tokens_decoder={"174": MASK | {"lstrip": True, "normalized": True}})),
    # Null says nothing, but no beginning.
    ("bert", {}, config(**BERT, strip_accents=None, mask_token=None, additional_special_tokens=None, model_max_length=None)),
    ("llama", {}, config(tokenizer_class="LlamaTokenizer", add_bos_token=None, add_eos_token=None, legacy=None,
     add_prefix_space=None)),
    ("bert", {}, config(tokenizer_class=None)),
    ("bert", {}, {"special_tokens_map.json": {"mask_token": None, "additional_special_tokens": None}} | config(**BERT)),
    ("bert", {}, config(**BERT, model_max_length=5.0)),
    ("bert", {}, config(**BERT, model_max_length=1e30)),
    ("bert", {}, config(**BERT, model_max_length=1000000000000000019884624838656)),
    # Values of another type; transformers refuses most of them, and takes others for something else.
    *[("bert", {}, config(**BERT, **{key: value}), f"tokenizer_config.json: {key} is {shown(value)}; expected")
      for key, values in WRONG.items() for value in values],
    ("bert", {}, config(tokenizer_class=7), "tokenizer_class is 7"),
    ("bert", {}, config(tokenizer_class=""), 'tokenizer_class is ""'),
    ("bert", {}, config(**BERT, added_tokens_decoder={"5": "cat"}), 'added token "5" is malformed'),
    ("bert", {}, config(**BERT, added_tokens_decoder={"5": {"content": "the", "lstrip": "no"}}), 'added token "5" is malformed'),
    ("bert", {}, {"special_tokens_map.json": {"mask_token": 3}} | config(**BERT), "special_tokens_map.json: mask_token is 3"),
    # What else stands in the files.
    ("bert", {}, config(**BERT, split_special_tokens=True)),
    ("bert", {}, config(**BERT, model_max_length=6)),
    ("bert", {}, config(**BERT, max_len=6)),
    ("bert", {}, config(**BERT, truncation_side="left", padding_side="left", model_max_length=6)),
    ("bert", {"/truncation": {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0}}, config(**BERT)),
    ("bert", {"/padding": {"strategy": {"Fixed": 12}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
     "pad_type_id": 0, "pad_token": "[PAD]"}}, config(**BERT)),
    ("bert", {}, config(tokenizer_class="NoSuchTokenizer"), 'tokenizer_class is "NoSuchTokenizer"'),
    ("bert", {}, config(tokenizer_class="BertJapaneseTokenizer", do_lower_case=False), 'tokenizer_class is "BertJapaneseTokenizer"'),
    ("bert", {}, config(**BERT, model_input_names=["input_ids", "attention_mask"])),
]  # fmt: skip


def bases():
    """A small tokenizer.json of each family; those of SentencePiece models as transformers converts them."""
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] the cat sat on mat cafe café The Cafe Café new sing ##ing x y < > [ ] / | mask pad 北 京 北京"
    words = [*words.split(), *"abcdefghijklmnopqrstuvwxyzTCé", *("##" + c for c in "abcdefghijklmnopqrstuvwxyzé北京")]
    vocab = {word: i for i, word in enumerate(dict.fromkeys(words))}
    bert = tokenizers.BertWordPieceTokenizer(vocab)
    yield "bert", bert._tokenizer
    for name in ("gpt2", "roberta", "mpnet"):
        folder = HERE / "tokenizers" / name
        tokenizer = AutoTokenizer.from_pretrained(folder, tokenizer_type=name)
        yield name, tokenizer._tokenizer
    yield "qwen2", AutoTokenizer.from_pretrained(HERE / "tokenizers/gpt2", tokenizer_type="qwen2")._tokenizer
    for name in ("llama", "xlnet", "albert", "xlm_roberta", "deberta_v2"):
        folder = HERE / "tokenizers" / name
        options = {"legacy": False, "add_bos_token": False} if name == "llama" else {}
        yield name, AutoTokenizer.from_pretrained(folder, tokenizer_type=MODEL_TYPES[name], **options)._tokenizer


def edited(base, changes):
    base = json.loads(json.dumps(base))
    for pointer, value in changes.items():
        *parents, last = pointer.split("/")[1:]
        place = base
        for key in parents:
            place = place[int(key) if isinstance(place, list) else key]
        place[int(last) if isinstance(place, list) else last] = value
    return base


def ids_filled(base, files):
    """The next free id for N, the one after it for M, that of the word cat for W."""
    vocab = base["model"]["vocab"]
    n = max(len(vocab), *(token["id"] + 1 for token in base["added_tokens"]))
    names = {"N": n, "M": n + 1, "W": vocab["cat"] if isinstance(vocab, dict) and "cat" in vocab else 0}
    files = json.loads(json.dumps(files))
    decoder = files.get("tokenizer_config.json", {}).get("added_tokens_decoder")
    if isinstance(decoder, dict):
        files["tokenizer_config.json"]["added_tokens_decoder"] = {str(names.get(k, k)): v for k, v in decoder.items()}
    if isinstance(files.get("added_tokens.json"), dict):
        files["added_tokens.json"] = {k: names.get(v, v) for k, v in files["added_tokens.json"].items()}
    return files


def record(*directory):
    try:
        return answer(*directory)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:100]}


def answer(base, name, changes, files):
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder, "tokenizer.json"), edited(base, changes))
        write_json(Path(folder, "config.json"), {"model_type": MODEL_TYPES[name]})
        for file, content in files.items():
            if file == "tokenizer.model":
                shutil.copy(HERE / "tokenizers" / content / file, folder)
            else:
                write_json(Path(folder, file), content)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    texts = [tokenizer([text], return_token_type_ids=True) for text in TEXTS]
    pair = tokenizer([PAIR[0]], [PAIR[1]], return_token_type_ids=True)
    cut = tokenizer([TEXTS[0]], truncation=True, max_length=5)["input_ids"][0]
    pair_cut = tokenizer([PAIR[0]], [PAIR[1] * 2], truncation=True, max_length=6)["input_ids"][0]
    return {
        "max_length": int(tokenizer.model_max_length) if tokenizer.model_max_length < 1e6 else None,
        "gives_segments": "token_type_ids" in tokenizer.model_input_names,
        "cut": [cut, pair_cut],
        "vocab_size": max(tokenizer.get_vocab().values()) + 1,
        "ids": [encoded["input_ids"][0] for encoded in [*texts, pair]],
        "segments": pair["token_type_ids"][0],
        "special": sorted(i for i, token in tokenizer.added_tokens_decoder.items() if token.special),
    }


def write_json(path, content):
    path.write_text(json.dumps(content, ensure_ascii=True) + "\n", encoding="utf-8", newline="\n")


def main(compare):
    transformers.logging.set_verbosity_error()
    if not compare:
        OUT.mkdir(exist_ok=True)
        for name, tokenizer in bases():
            write_json(OUT / f"{name}.json", json.loads(tokenizer.to_str()))
    before = json.loads((OUT / "expected.json").read_text(encoding="utf-8"))["cases"] if compare else CASES
    cases = []
    for i, (name, changes, files, *refused) in enumerate(CASES):
        base = json.loads((OUT / f"{name}.json").read_text(encoding="utf-8"))
        filled = ids_filled(base, files)
        got = record(base, name, changes, filled)
        case = {"base": name, "model_type": MODEL_TYPES[name], "changes": changes, "files": filled, "expected": got}
        case |= {"refused": refused[0]} if refused else {}
        cases.append(case)
        if compare and before[i]["expected"] != got:
            print(i, name, json.dumps(changes), json.dumps(filled))
            then = before[i]["expected"]
            if "error" in then or "error" in got:
                print("   ", then.get("error", "read"), "->", got.get("error", "read"))
                continue
            for key in ("max_length", "gives_segments", "cut", "vocab_size", "segments", "special"):
                if then[key] != got[key]:
                    print("   ", key, then[key], "->", got[key])
            for text, a, b in zip([*TEXTS, PAIR], then["ids"], got["ids"], strict=True):
                if a != b:
                    print("   ", repr(text), a, "->", b)
    if not compare:
        versions = {m.__name__: m.__version__ for m in (transformers, tokenizers)}
        lines = ",\n".join(json.dumps(case) for case in cases)
        head = json.dumps({"versions": versions, "texts": TEXTS, "pair": PAIR})[:-1]
        (OUT / "expected.json").write_text(f'{head}, "cases": [\n{lines}\n]}}\n', encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main("--compare" in sys.argv[1:])
