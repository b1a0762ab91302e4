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
        (tiny("electra", tokenizer_dir, max_position_embeddings=7), "bears 7 tokens"),
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


def test_score_gives_a_value_for_each_token_that_can_be_predicted(family, tokenizer_dir, corpus):
    model = model_of(family, tokenizer_dir)
    if family == "electra":
        with pytest.raises(ValueError, match="generator"):
            model.token_log_probs(corpus)
        model = model.generator
    alone = [model.token_log_probs([text])[0] for text in corpus[:3]]
    together = model.token_log_probs(corpus[:3])
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)
        known = ~np.isnan(one)
        assert (one[known] < 0).all()
        assert known.sum() >= len(one) - 2
    mean = np.concatenate([scores[~np.isnan(scores)] for scores in together]).astype(np.float64).mean()
    assert model.perplexity(corpus[:3]) == pytest.approx(np.exp(-mean))
    with pytest.raises(ValueError, match="at least one text"):
        model.perplexity([])


@pytest.mark.parametrize("family", ["bert", "xlnet"])
def test_special_tokens_and_unknown_words_in_a_text_have_no_score(family, tokenizer_dir):
    model = model_of(family, tokenizer_dir)
    text = "the film [SEP] was zebra [PAD] and [MASK] old"
    ids, (scores,) = model.backbone_.tokenizer.encode([text])[0], model.token_log_probs([text])
    assert [id for id, score in zip(ids, scores, strict=True) if np.isnan(score)] == [2, 3, 1, 0, 4, 3]
    assert model.perplexity([text]) == pytest.approx(np.exp(-scores[~np.isnan(scores)].astype(np.float64).mean()))
    with pytest.raises(ValueError, match="special ones and those of unknown words aside"):
        model.perplexity(["[SEP] [MASK]"])
    assert len(model.fill_mask(text)) == 1


def test_a_causal_model_scores_all_but_the_first_token(tokenizer_dir):
    (scores,) = model_of("gpt2", tokenizer_dir).token_log_probs(["the film [SEP] was"])
    assert np.isnan(scores).tolist() == [True] + [False] * 5


def test_fill_mask_gives_the_likeliest_tokens_of_each_mask(tokenizer_dir, corpus):
    model = model_of("bert", tokenizer_dir, epochs=10).fit(corpus)
    word = corpus[0].split()[1]
    found = model.fill_mask(corpus[0].replace(word, "[MASK]", 1), top_k=4)
    assert len(found) == 1
    assert len(found[0]) == 4
    probabilities = [p for _, p in found[0]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0 < sum(probabilities) <= 1
    with pytest.raises(ValueError, match=r"texts\[0\] has no mask token; write \[MASK\]"):
        model.fill_mask("no mask")
    with pytest.raises(ValueError, match="fills no masks"):
        model_of("gpt2", tokenizer_dir).fill_mask("a [MASK]")


def test_fill_mask_says_that_it_cut_the_mask_off(tokenizer_dir):
    model = model_of("bert", tokenizer_dir)
    with (
        pytest.warns(UserWarning, match="1 of 1 texts is longer than"),
        pytest.raises(ValueError, match=r"has no mask token; .* texts were cut at \d+ tokens: it may stand behind"),
    ):
        model.fill_mask("film " * 100 + "[MASK]")


def test_fill_mask_of_several_texts_gives_a_list_for_each(tokenizer_dir):
    model = model_of("bert", tokenizer_dir)
    texts = ["the [MASK] was", "[MASK] film [MASK] good and old"]
    alone = [model.fill_mask(text) for text in texts]
    assert [len(found) for found in alone] == [1, 2]
    for given in (texts, tuple(texts), np.array(texts)):
        assert model.fill_mask(given) == alone
    assert model.fill_mask(texts[:1]) == alone[:1]
    assert model.fill_mask([]) == []
    with pytest.raises(ValueError, match=r"texts\[1\] has no mask token"):
        model.fill_mask([texts[0], "the film"])


CAUSAL = {"gpt2": {}, "llama": {}, "mistral": {"sliding_window": 3}, "qwen3": {}}


@pytest.fixture(params=CAUSAL)
def writer(request: pytest.FixtureRequest, tokenizer_dir: Path) -> ws.LanguageModel:
    backbone = tiny(request.param, tokenizer_dir, **CAUSAL[request.param])
    return ws.LanguageModel(backbone, precision="f32", random_state=0, verbose=False)


def test_generation_with_kept_keys_takes_the_tokens_that_scores_call_likeliest(writer, corpus):
    prompts = [" ".join(text.split()[:n]) for text, n in zip(corpus[:4], (1, 5, 2, 9), strict=True)]
    found = writer.generate(prompts, max_new_tokens=6, temperature=0)
    assert [writer.generate(prompt, max_new_tokens=6, temperature=0) for prompt in prompts] == found
    assert any(found)
    drawn = writer.generate(prompts, max_new_tokens=6, random_state=3)
    assert writer.generate(prompts, max_new_tokens=6, random_state=3) == drawn
    assert writer.generate(prompts, max_new_tokens=6, random_state=4) != drawn
    assert writer.generate(prompts, max_new_tokens=6, random_state=3, top_k=1) == found


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_scores_are_the_same_bytes_whether_weights_are_packed_yet_and_with_any_number_of_threads(
    precision, tokenizer_dir, corpus
):
    backbone = tiny("llama", tokenizer_dir, hidden_size=96, intermediate_size=400, num_attention_heads=4)

    def scores(model: ws.LanguageModel) -> list[bytes]:
        return [values.tobytes() for values in model.token_log_probs(corpus[:3])]

    model = ws.LanguageModel(backbone, precision=precision, random_state=0, verbose=False)
    first = scores(model)  # from where the weights lie
    assert scores(model) == first  # packed
    ws.set_num_threads(1)
    try:
        alone = ws.LanguageModel(backbone, precision=precision, random_state=0, verbose=False)
        assert scores(alone) == first
    finally:
        ws.set_num_threads(0)


def test_generation_streams_what_it_returns_and_ends_at_stop_texts(writer, corpus):
    pieces: list[str] = []
    text = writer.generate(corpus[0], max_new_tokens=8, temperature=0, stream=pieces.append)
    assert "".join(pieces) == text
    both: dict[int, str] = {0: "", 1: ""}

    def take(index: int, piece: str) -> None:
        both[index] += piece

    texts = writer.generate(corpus[:2], max_new_tokens=8, random_state=0, stream=take)
    assert texts == [both[0], both[1]]
    words = text.split()
    if len(set(words)) > 1:
        last = next(word for word in words if word != words[0])
        assert writer.generate(corpus[0], max_new_tokens=8, temperature=0, stop=last) == text[: text.index(last)]

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.generate(corpus[0], max_new_tokens=8, temperature=0, stream=stop)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_generation_hands_on_whole_characters_and_stops_at_none_that_is_unfinished(name):
    # Untrained, they write bytes that are no characters, and characters of several tokens.
    path = Path(__file__).parents[1] / "reference" / "gguf" / f"{name}.gguf"
    model = ws.LanguageModel.from_pretrained(path, precision="f32", verbose=False)
    broken = 0
    for seed in range(40):
        pieces: list[str] = []
        text = model.generate("the cat", 12, random_state=seed, stream=pieces.append)
        assert "".join(pieces) == text
        assert model.generate("the cat", 12, random_state=seed, stop="\ufffd") == text.split("\ufffd")[0]
        broken += "\ufffd" in text
    assert broken > 10


def test_generation_refuses_what_it_cannot_do(writer, tokenizer_dir, corpus):
    with pytest.raises(ValueError, match="prompt 1 has 42 tokens; the model bears 40"):
        writer.generate(["a", " ".join(["film"] * 40)])
    for params, message in [
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature must be finite"),
        ({"top_k": 0}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"stop": ""}, "stop"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
    ]:
        with pytest.raises(ValueError, match=message):
            writer.generate("a", **params)
    for stop, message in [(5, "stop is a int"), ([5], r"stop\[0\] is 5")]:
        with pytest.raises(TypeError, match=message):
            writer.generate("a", stop=stop)
    for family in ("bert", "xlnet"):
        with pytest.raises(ValueError, match="left to right"):
            model_of(family, tokenizer_dir).generate("a")


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
