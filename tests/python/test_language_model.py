"""`LanguageModel`: training by every objective, going on from a checkpoint, scores, masks, saving."""

import json
import pickle
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import warmstart as ws
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from test_families import tiny

pytestmark = pytest.mark.usefixtures("corpora")

OBJECTIVES = {
    "bert": ws.MaskedLM(rate=0.3),
    "electra": ws.ReplacedTokenDetection(rate=0.3),
    "gpt2": ws.CausalLM(stream=True),
    "llama": ws.CausalLM(),
    "xlnet": ws.PermutationLM(),
}
FAST = {
    "learning_rate": 5e-3,
    "batch_tokens": 64,
    "max_length": 16,
    "random_state": 0,
    "precision": "f32",
    "verbose": False,
}


@pytest.fixture(params=OBJECTIVES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def model_of(family: str, tokenizer_dir: Path, **params: object) -> ws.LanguageModel:
    return ws.LanguageModel(tiny(family, tokenizer_dir), OBJECTIVES[family], **FAST | params)


def losses(model: ws.LanguageModel) -> list[float]:
    return [row["eval_loss"] for row in model.history_.rows]


def weights(model: ws.LanguageModel) -> list[bytes]:
    """Of all parameters, byte for byte, as they are written."""
    with tempfile.TemporaryDirectory() as directory:
        model.save(directory)
        return [file.read_bytes() for file in sorted(Path(directory).rglob("*.safetensors"))]


def test_training_lowers_the_perplexity_of_texts_that_were_held_out(family, tokenizer_dir, corpus):
    model = model_of(family, tokenizer_dir, epochs=40)
    asked = model.generator if family == "electra" else model
    before = asked.perplexity(corpus[50:])
    assert model.fit(corpus, eval_set=0.15) is model
    assert losses(model)[-1] < losses(model)[0] - 0.15
    asked = model.generator if family == "electra" else model
    if family != "electra":
        assert [row["perplexity"] for row in model.history_.rows] == pytest.approx(np.exp(losses(model)))
    assert asked.perplexity(corpus[50:]) < 0.95 * before


def test_same_seed_gives_the_same_bytes_whatever_the_number_of_threads(family, tokenizer_dir, corpus):
    first = weights(model_of(family, tokenizer_dir, max_steps=4).fit(corpus))
    ws.set_num_threads(1)
    try:
        assert weights(model_of(family, tokenizer_dir, max_steps=4).fit(corpus)) == first
    finally:
        ws.set_num_threads(0)
    assert weights(model_of(family, tokenizer_dir, max_steps=4, random_state=1).fit(corpus)) != first


def test_recomputing_layers_changes_nothing(family, tokenizer_dir, corpus):
    plain = weights(model_of(family, tokenizer_dir, max_steps=3).fit(corpus))
    assert weights(model_of(family, tokenizer_dir, max_steps=3, recompute=True).fit(corpus)) == plain


def test_objective_that_a_backbone_cannot_serve_says_which_it_can(tokenizer_dir, corpus):
    for family, objective, can in [
        ("gpt2", ws.MaskedLM(), "CausalLM"),
        ("bert", ws.CausalLM(), "MaskedLM"),
        ("bert", ws.PermutationLM(), "MaskedLM"),
        ("xlnet", ws.CausalLM(), "PermutationLM"),
        ("gpt2", ws.ReplacedTokenDetection(), "CausalLM"),
        ("llama", ws.ReplacedTokenDetection(), "CausalLM"),
        ("xlnet", ws.ReplacedTokenDetection(), "PermutationLM"),
    ]:
        with pytest.raises(ValueError, match=can):
            ws.LanguageModel(tiny(family, tokenizer_dir), objective, **FAST).fit(corpus)
    with pytest.raises(TypeError, match="objective must be"):
        ws.LanguageModel(tiny("bert", tokenizer_dir), "masked").fit(corpus)


def test_texts_of_which_nothing_can_be_asked_are_refused(tokenizer_dir, corpus):
    """A word alone, of which XLNet is asked for one in six: not for these."""
    model = model_of("xlnet", tokenizer_dir, max_steps=2)
    with pytest.raises(
        ws.DataError, match="no token of the texts to evaluate on can be asked for: its sequences are too"
    ):
        model.fit(corpus, eval_set=["film"])
    with pytest.raises(ws.DataError, match="no token of the corpus can be asked for"):
        model.fit(["film"])


def test_a_head_is_kept_where_the_objective_trains_such_a_one(tokenizer_dir, corpus, tmp_path):
    first = model_of("bert", tokenizer_dir, max_steps=3).fit(corpus)
    first.save(tmp_path / "saved")
    kept = ws.LanguageModel.from_pretrained(tmp_path / "saved", ws.MaskedLM(), verbose=False)
    assert weights(kept) == weights(first)
    replaced = ws.ReplacedTokenDetection()
    fresh = ws.Backbone.from_pretrained(tmp_path / "saved")
    for backbone in (kept.backbone_, first.backbone_, fresh):
        found = ws.LanguageModel(backbone, replaced, max_steps=1, **FAST).fit(corpus)
        assert weights(found) == weights(ws.LanguageModel(fresh, replaced, max_steps=1, **FAST).fit(corpus))
    detector = ws.LanguageModel(found.backbone_, ws.MaskedLM(), **FAST)
    with pytest.warns(UserWarning, match="untrained"):
        detector.perplexity(corpus)


def test_detector_is_saved_with_its_generator_or_not_at_all(tokenizer_dir, corpus, tmp_path):
    first, second = (model_of("electra", tokenizer_dir, max_steps=2, random_state=seed).fit(corpus) for seed in (0, 1))
    first.save(tmp_path / "saved", max_shard_size="1kB")
    assert len(list((tmp_path / "saved" / "generator").glob("model-*.safetensors"))) > 1
    before = {path: path.read_bytes() for path in (tmp_path / "saved").rglob("*") if path.is_file()}
    (tmp_path / "saved" / "model.safetensors").mkdir()
    with pytest.raises(ValueError, match=r"model\.safetensors: is a directory"):
        second.save(tmp_path / "saved")
    (tmp_path / "saved" / "model.safetensors").rmdir()
    assert {path: path.read_bytes() for path in (tmp_path / "saved").rglob("*") if path.is_file()} == before
    second.save(tmp_path / "saved")
    assert not list((tmp_path / "saved").rglob("model-*.safetensors"))
    assert weights(ws.load(tmp_path / "saved")) == weights(second)
    assert weights(pickle.loads(pickle.dumps(second))) == weights(second)


def test_flag_is_no_part_to_hold_out(tokenizer_dir, corpus):
    with pytest.raises(
        TypeError, match="eval_set is True; expected texts, a path, or the part of the corpus to hold out"
    ):
        model_of("gpt2", tokenizer_dir).fit(corpus, eval_set=True)


def test_part_to_hold_out_is_any_number(tokenizer_dir, corpus):
    first, second = (
        model_of("gpt2", tokenizer_dir, max_steps=1).fit(corpus, eval_set=p) for p in (0.25, np.float32(0.25))
    )
    assert losses(first) == losses(second)
    with pytest.raises(ValueError, match="the held-out fraction is 1; expected between 0 and 1"):
        model_of("gpt2", tokenizer_dir).fit(corpus, eval_set=1)


def test_generator_that_cannot_serve_the_detector_is_refused(tokenizer_dir, corpus):
    detector = tiny("electra", tokenizer_dir)
    other = ws.train_tokenizer(["a b c"], kind="wordpiece", vocab_size=20)
    config = json.loads(detector._inner.config)
    for generator, message in [
        (ws.Backbone.from_config(config | {"vocab_size": 999}, detector.tokenizer), "vocabulary of 999"),
        (ws.Backbone.from_config(config, other), "another tokenizer"),
        (tiny("gpt2", tokenizer_dir), "gpt2, which cannot fill masks"),
        (tiny("xlnet", tokenizer_dir), "xlnet, which cannot fill masks"),
        (tiny("electra", tokenizer_dir, max_position_embeddings=7), "supports 7 tokens"),
    ]:
        with pytest.raises(ValueError, match=f"the generator .*{message}"):
            ws.LanguageModel(detector, ws.ReplacedTokenDetection(generator=generator), **FAST).fit(corpus)


def test_checkpoint_without_a_head_says_how_to_begin_one(tokenizer_dir, tmp_path):
    tiny("bert", tokenizer_dir).save_pretrained(tmp_path / "bare")
    with pytest.raises(
        ws.WeightsError, match=r"missing\n[^$]*LanguageModel\(Backbone\.from_pretrained\(path\)\) begins"
    ):
        ws.LanguageModel.from_pretrained(tmp_path / "bare")


def test_saved_model_reads_back_and_its_backbone_goes_on(family, tokenizer_dir, corpus, texts, labels, tmp_path):
    model = model_of(family, tokenizer_dir, max_steps=3).fit(corpus, eval_set=0.15)
    model.save(tmp_path / "saved")
    read = ws.load(tmp_path / "saved")
    assert isinstance(read, ws.LanguageModel)
    assert (read.n_iter_, read.history_.best_step) == (model.n_iter_, model.history_.best_step)
    assert model.n_iter_ == 3
    assert repr(read.history_) == repr(model.history_)
    assert read.objective == model.objective
    assert repr(read.get_params(deep=False)) == repr(model.get_params(deep=False) | {"backbone": read.backbone})
    assert weights(read) == weights(model)
    if family != "electra":
        assert weights(ws.LanguageModel.from_pretrained(tmp_path / "saved")) == weights(model)
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["architectures"][0].endswith(
        ("LMHeadModel", "ForMaskedLM", "ForCausalLM", "ForPreTraining")
    )
    assert weights(pickle.loads(pickle.dumps(model))) == weights(model)
    np.testing.assert_array_equal(
        ws.Backbone.from_pretrained(tmp_path / "saved").embed(texts[:3]), model.backbone_.embed(texts[:3])
    )
    ws.TextClassifier(model.backbone_, max_steps=1, verbose=False).fit(texts, labels)


@pytest.mark.parametrize(
    "params, message",
    [
        ({"batch_tokens": 0}, "batch_tokens"),
        ({"max_length": 1}, "max_length"),
        ({"max_length": 4000}, "max_length"),
        ({"max_length": 30, "batch_tokens": 29}, "max_length=30 is more than batch_tokens=29"),
        ({"checkpoint_every": 3}, "checkpoint_dir"),
        ({"patience": 2}, "eval_set"),
        ({"precision": "int8"}, "int8"),
    ],
)
def test_parameter_out_of_its_range_is_refused(params, message, tokenizer_dir, corpus):
    with pytest.raises(ValueError, match=message):
        model_of("gpt2", tokenizer_dir, **params).fit(corpus)


def test_memory_is_what_a_sequence_sees_of_the_text_before_and_may_be_none(tokenizer_dir, corpus, tmp_path):
    """It changes what is learnt of a document of several sequences, not of one that is short."""

    def learnt(texts, memory):
        model = ws.LanguageModel(tiny("xlnet", tokenizer_dir), ws.PermutationLM(memory=memory), max_steps=4, **FAST)
        return weights(model.fit(texts))

    long, short = [" ".join(corpus[:8])], [" ".join(text.split()[:10]) for text in corpus]
    assert learnt(long, None) == learnt(long, FAST["max_length"]) != learnt(long, 0)
    assert learnt(long, 3) not in (learnt(long, 0), learnt(long, None))
    assert learnt(short, None) == learnt(short, 0)
    for memory, error in ((-1, ValueError), (2.5, TypeError), (False, TypeError), ("", TypeError), (0.0, TypeError)):
        with pytest.raises(error, match=r"memory must be .*0 or None"):
            learnt(short, memory)


def remembered(directory):
    """Layers, tokens and width of what a checkpoint remembers."""
    file = (directory / "checkpoint.safetensors").read_bytes()
    return json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])["memory"]["shape"]


def test_step_that_asks_nothing_is_remembered(tokenizer_dir, corpus, tmp_path):
    """Sequences of two tokens: of most none is predicted."""
    found = []
    for steps in range(1, 8):  # seven sequences of a document, each goes on with the one before
        directory = tmp_path / str(steps)
        params = {"max_length": 4, "batch_tokens": 4, "max_steps": steps, "checkpoint_dir": directory}
        model = model_of("xlnet", tokenizer_dir, **params)
        model.fit([" ".join(corpus)])
        found.append(remembered(directory)[1])
    assert model.history_.rows[-1]["loss"] > 0 and found == [2, 4, 4, 4, 4, 4, 4]


def test_masking_out_of_its_range_is_refused(tokenizer_dir, corpus):
    for objective, error, message in [
        (ws.MaskedLM(rate=0.0), ValueError, "rate=0: expected more than 0"),
        (ws.MaskedLM(rate=float("nan")), ValueError, "rate must be finite"),
        (ws.MaskedLM(rate="a"), TypeError, "rate must be a number"),
        (ws.MaskedLM(unit="sentence"), ValueError, "unit must be one of 'token', 'word', 'span', got 'sentence'"),
        (ws.ReplacedTokenDetection(weight=float("inf")), ValueError, "weight must be finite"),
    ]:
        with pytest.raises(error, match=message):
            ws.LanguageModel(tiny("bert", tokenizer_dir), objective, **FAST).fit(corpus)
    with pytest.raises(TypeError, match="stream must be True or False, got 'yes'"):
        ws.LanguageModel(tiny("gpt2", tokenizer_dir), ws.CausalLM(stream="yes"), **FAST).fit(corpus)
    given = [ws.LanguageModel(tiny("bert", tokenizer_dir), ws.MaskedLM(rate=r), **FAST) for r in (0.5, np.float32(0.5))]
    assert weights(given[0].fit(corpus)) == weights(given[1].fit(corpus))


def test_a_fit_begins_from_the_backbone_each_time(family, tokenizer_dir, corpus):
    model = model_of(family, tokenizer_dir, max_steps=3)
    first = weights(model.fit(corpus))
    assert weights(model.fit(corpus)) == first
    on = ws.LanguageModel(model.backbone_, OBJECTIVES[family], **FAST | {"max_steps": 3}).fit(corpus)
    assert weights(on) != first


def test_a_model_goes_on_from_anothers_backbone_with_its_head(family, tokenizer_dir, corpus):
    first = model_of(family, tokenizer_dir, max_steps=3).fit(corpus)
    on = ws.LanguageModel(first.backbone_, OBJECTIVES[family], **FAST)
    assert weights(on) == weights(first)
    assert weights(pickle.loads(pickle.dumps(on))) == weights(first)


def test_it_is_an_estimator(tokenizer_dir, corpus):
    values = {name: object() for name in model_of("bert", tokenizer_dir).get_params(deep=False)}
    kept = ws.LanguageModel(**values)
    assert all(getattr(kept, name) is value for name, value in values.items())
    model = model_of("bert", tokenizer_dir, max_steps=2).fit(corpus)
    copy = clone(model)
    assert copy.backbone is model.backbone
    assert copy.get_params(deep=False).keys() == model.get_params(deep=False).keys()
    assert not hasattr(copy, "history_")
    assert weights(copy.fit(corpus)) == weights(model)
    copy.set_params(strategy__layer_decay=0.5, optimizer__beta1=0.8, learning_rate=1e-3)
    assert (copy.strategy, copy.optimizer) == (ws.FullFineTuning(layer_decay=0.5), ws.AdamW(beta1=0.8))
    assert weights(copy.fit(corpus)) != weights(model)
    assert "max_steps=2" in repr(copy)
    assert copy.__sklearn_tags__().input_tags.string


def test_it_is_searched_by_its_perplexity(tokenizer_dir, corpus):
    def likeliest(model, X, y=None):
        return -model.perplexity(X)

    grid = {"learning_rate": [1e-6, 1e-2]}
    model = model_of("gpt2", tokenizer_dir, epochs=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(model, grid, cv=2, scoring=likeliest).fit(corpus)
    assert search.best_params_ == {"learning_rate": 1e-2}
    assert search.best_estimator_.perplexity(corpus) < 40


def test_the_seed_is_drawn_by_fit_and_recorded(tokenizer_dir, corpus):
    model = model_of("bert", tokenizer_dir, max_steps=2, random_state=None)
    seeds = [model.fit(corpus).random_state_ for _ in range(2)]
    assert seeds[0] != seeds[1]
    assert model.random_state is None
    first = weights(model)
    assert weights(model_of("bert", tokenizer_dir, max_steps=2, random_state=seeds[1]).fit(corpus)) == first


def test_what_is_asked_before_fit_is_one_model_until_a_parameter_changes(tokenizer_dir, corpus):
    model = model_of("bert", tokenizer_dir, random_state=None)
    before = model.perplexity(corpus)
    assert model.perplexity(corpus) == before
    model.set_params(objective=ws.MaskedLM(rate=0.5), max_length=None)
    assert model.perplexity(corpus) != before
    assert model.set_params(backbone=tiny("gpt2", tokenizer_dir), objective=None).generate("the", 2) is not None


def test_objective_none_is_what_the_backbone_is_made_for(tokenizer_dir, corpus):
    for family, kind in (("bert", ws.MaskedLM), ("gpt2", ws.CausalLM), ("xlnet", ws.PermutationLM)):
        model = ws.LanguageModel(tiny(family, tokenizer_dir), max_steps=1, **FAST).fit(corpus)
        assert model.objective is None
        assert type(model.objective_) is kind
