"""What a `LanguageModel` is asked: scores of tokens, masks filled, texts generated."""

from pathlib import Path

import numpy as np
import pytest
import warmstart as ws
from test_families import tiny
from test_language_model import OBJECTIVES, model_of

pytestmark = pytest.mark.usefixtures("corpora")


@pytest.fixture(params=OBJECTIVES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


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
    with pytest.raises(ValueError, match="prompt 1 has 42 tokens; the model supports 40"):
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
