"""`train_tokenizer`, `Tokenizer` and `extend_vocabulary`."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import warmstart as ws
from conftest import CONFIG, make_texts

WORDS = [["immunoglobulin", "antibody", "serum"], ["striker", "goalkeeper", "Müller"]]
CORPUS = make_texts(200, WORDS)[0] + ["The film, 2024: naïve café! 我爱 🙂👩\u200d👧"] * 3
KINDS = [("wordpiece", "bert"), ("bpe", "gpt2"), ("bpe", "roberta"), ("unigram", "xlnet"), ("unigram", "albert")]
SIZE = {"wordpiece": 150, "bpe": 320, "unigram": 150}


def train(kind, family=None, corpus=CORPUS, **options):
    return ws.train_tokenizer(corpus, kind, SIZE[kind], family=family, **options)


def saved(tokenizer, directory):
    tokenizer.save(directory)
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize(("kind", "family"), KINDS)
def test_a_trained_tokenizer_encodes_decodes_and_is_saved(kind, family, tmp_path):
    tokenizer = train(kind, family)
    assert len(CORPUS[0]) < tokenizer.vocab_size <= SIZE[kind]
    ids = tokenizer.encode(["the striker", ""])
    assert [text.strip() for text in tokenizer.decode(ids)] == ["the striker", ""]
    assert set(saved(tokenizer, tmp_path / "t")) == {"tokenizer.json", "tokenizer_config.json"}
    backbone = ws.Backbone.from_config(CONFIG | {"vocab_size": SIZE[kind], "type_vocab_size": 3}, tokenizer)
    opened = ws.Backbone.from_config(CONFIG | {"vocab_size": SIZE[kind], "type_vocab_size": 3}, tmp_path / "t")
    assert backbone.tokenizer.encode(CORPUS) == opened.tokenizer.encode(CORPUS) == tokenizer.encode(CORPUS)
    assert pickle.loads(pickle.dumps(tokenizer)).encode(CORPUS) == tokenizer.encode(CORPUS)


@pytest.mark.parametrize(("kind", "family"), KINDS)
def test_training_gives_the_same_bytes_whatever_the_threads_and_the_order(kind, family, tmp_path):
    first = saved(train(kind, family), tmp_path / "first")
    ws.set_num_threads(1)
    try:
        again = saved(train(kind, family, (text for text in reversed(CORPUS))), tmp_path / "again")
    finally:
        ws.set_num_threads(0)
    assert again == first


def test_training_gives_the_same_bytes_in_another_process(tmp_path):
    code = (
        "import sys, warmstart as ws; sys.path.insert(0, sys.argv[1]); import test_tokenizer as t\n"
        "for kind in t.SIZE: t.train(kind).save(sys.argv[2] + '/' + kind)"
    )
    here = __file__.rsplit("/", 1)[0]
    subprocess.run([sys.executable, "-c", code, here, str(tmp_path / "other")], check=True)
    for kind in SIZE:
        mine = saved(train(kind), tmp_path / kind)
        assert mine["tokenizer.json"] == (tmp_path / "other" / kind / "tokenizer.json").read_bytes()


def test_saving_beside_a_model_leaves_its_configuration(backbone, tmp_path):
    backbone.save_pretrained(tmp_path)
    train("wordpiece").save(tmp_path)
    assert (tmp_path / "config.json").exists()
    assert not (tmp_path / "vocab.txt").exists()


@pytest.mark.parametrize(
    ("corpus", "options", "error", "match"),
    [
        ([], {}, ws.DataError, "empty"),
        (["", "  "], {}, ws.DataError, "empty"),
        ("one text", {}, TypeError, "one str"),
        (["a", None], {}, TypeError, r"corpus\[1\] is None"),
        (["a", "\ud800"], {}, ValueError, r"corpus\[1\] is not valid Unicode"),
        (CORPUS, {"kind": "words"}, ValueError, '"wordpiece", "bpe" or "unigram"'),
        (CORPUS, {"family": "gpt2"}, ValueError, "family"),
        (CORPUS, {"vocab_size": 20}, ValueError, "vocab_size=20 is too small: .* take [0-9]+"),
        (CORPUS, {"vocab_size": 2**30}, ValueError, "at most"),
        (CORPUS, {"kind": "bpe", "vocab_size": 200}, ValueError, "vocab_size=200 is too small"),
        (CORPUS, {"kind": "unigram", "vocab_size": 20}, ValueError, "vocab_size=20 is too small"),
        (CORPUS, {"kind": "bpe", "lowercase": True}, ValueError, "lowercase"),
        (CORPUS, {"min_frequency": 0}, ValueError, "min_frequency"),
    ],
)
def test_what_cannot_be_trained_is_named(corpus, options, error, match):
    with pytest.raises(error, match=match):
        ws.train_tokenizer(corpus, **options)


def test_a_long_word_and_control_characters_can_be_trained_on():
    corpus = [*CORPUS, "q" * 100_000, "\x00\x01\u202e\U0010ffff"]
    for kind in SIZE:
        assert train(kind, corpus=corpus).encode(["q" * 1000 + "\x00"])[0]


@pytest.fixture(scope="module", params=KINDS, ids=lambda pair: pair[1])
def small(request):
    """A backbone whose tokenizer knows no long words."""
    kind, family = request.param
    letters = "".join(sorted(set("".join(CORPUS))))
    tokenizer = train(kind, family, [" ".join(a + b for b in letters) for a in letters] * 2)
    config = CONFIG | {"vocab_size": tokenizer.vocab_size, "type_vocab_size": 3}
    return ws.Backbone.from_config(config, tokenizer, random_state=0)


def rows(backbone):
    state = backbone._inner.__reduce__()[1][0]["weights"]
    length = int.from_bytes(state[:8], "little")
    entry = json.loads(state[8 : 8 + length])["embeddings.word_embeddings.weight"]
    begin, end = entry["data_offsets"]
    return np.frombuffer(state[8 + length :][begin:end], dtype=np.float32).reshape(entry["shape"])


def inner_ids(backbone, text):
    """Ids without those that every text has, at the end or the beginning, and without the text before it."""
    empty = set(backbone.tokenizer.encode([""])[0])
    first = [i for i in backbone.tokenizer.encode(["the"])[0] if i not in empty]
    return [i for i in backbone.tokenizer.encode(["the " + text])[0] if i not in empty][len(first) :]


def test_new_words_are_one_token_and_begin_from_their_pieces(small):
    before = small.tokenizer.encode(CORPUS)
    larger = small.extend_vocabulary(["immunoglobulin", "[NEW]"])
    pieces = inner_ids(small, "immunoglobulin")
    (new,) = inner_ids(larger, "immunoglobulin")
    assert len(pieces) > 1
    assert new >= small.tokenizer.vocab_size
    old_rows, new_rows = rows(small), rows(larger)
    assert new_rows.shape[0] == larger.config["vocab_size"] == larger.tokenizer.vocab_size
    np.testing.assert_array_equal(new_rows[: len(old_rows)], old_rows)
    np.testing.assert_allclose(new_rows[new], old_rows[pieces].mean(axis=0), atol=1e-6)
    assert inner_ids(larger, "[NEW]")[-1] >= small.tokenizer.vocab_size
    assert small.tokenizer.encode(CORPUS) == before
    others = [text for text in CORPUS if "immunoglobulin" not in text]
    assert larger.tokenizer.encode(others) == small.tokenizer.encode(others)


def test_an_extended_backbone_is_saved_and_opened(small, tmp_path):
    larger = small.extend_vocabulary(CORPUS, n_tokens=4).extend_vocabulary(["[A]", "goalkeeper"])
    larger.save_pretrained(tmp_path)
    again = ws.Backbone.from_pretrained(tmp_path)
    texts = [*CORPUS, "x[A]y"]
    assert again.tokenizer.encode(texts) == larger.tokenizer.encode(texts)
    np.testing.assert_array_equal(again.embed(CORPUS[:4]), larger.embed(CORPUS[:4]))


def test_words_of_a_corpus_are_chosen_by_the_pieces_they_save(small):
    corpus = ["the goalkeeper"] * 30 + ["the antibody"] * 20 + ["the immunoglobulin"] + ["42 42 !!"] * 90
    cost = len(inner_ids(small, "goalkeeper"))
    larger = small.extend_vocabulary(corpus, n_tokens=cost)
    assert len(inner_ids(larger, "goalkeeper")) == 1
    assert len(inner_ids(larger, "immunoglobulin")) > 1
    assert larger.config["vocab_size"] <= small.config["vocab_size"] + cost


def test_what_cannot_extend_is_named(small):
    with pytest.raises(ValueError, match="text in it"):
        small.extend_vocabulary([" "])
    with pytest.raises(TypeError, match="one str"):
        small.extend_vocabulary("word")
    with pytest.raises(TypeError, match=r"corpus\[0\]"):
        small.extend_vocabulary([3])
    with pytest.raises(ValueError, match="n_tokens"):
        small.extend_vocabulary(["word"], n_tokens=0)


@pytest.mark.parametrize("name", ["BertJapaneseTokenizer", "BertweetTokenizer", "XLMRobertaTokenizerFast"])
def test_a_vocabulary_of_another_class_is_refused(name, tokenizer_dir, tmp_path):
    (tmp_path / "vocab.txt").write_bytes((tokenizer_dir / "vocab.txt").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    message = rf"vocab\.txt: tokenizer_class is {name.removesuffix('Fast')}; supported: BertTokenizer"
    with pytest.raises(ws.DataError, match=message):
        ws.Backbone.from_config("bert", tmp_path, hidden_size=24, num_attention_heads=3)


def test_a_tokenizer_of_another_model_is_refused():
    tokenizer = train("bpe")
    with pytest.raises(ws.DataError, match=f"ids up to {tokenizer.vocab_size - 1}, config.json says vocab_size 7"):
        ws.Backbone.from_config(CONFIG | {"vocab_size": 7}, tokenizer)
