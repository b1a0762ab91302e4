"""What lies beside a model for generating texts: `generation_config.json`, chat templates."""

import json
import pickle
import struct
import warnings
from pathlib import Path
from typing import Any

import pytest
import warmstart as ws
from conftest import FAST
from test_families import tiny
from warmstart.generation import generation_options

GGUF = Path(__file__).parents[1] / "reference" / "gguf"
TEMPLATES = {
    "chat_template.jinja": b"{% for m in messages %}{{ m['content'] }}\r\n{% endfor %}",
    "additional_chat_templates/tools.jinja": "{{ tools }} \u00e9".encode(),
}
NONE = dict.fromkeys(("max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "stop"))


def options(config: dict[str, Any], **given: Any) -> dict[str, Any]:
    found = generation_options(config, **NONE | given)
    sampling = found.pop("sampling")
    return found | sampling


@pytest.fixture
def directory(tokenizer_dir: Path, tmp_path: Path) -> Path:
    model = ws.LanguageModel(tiny("gpt2", tokenizer_dir), random_state=0, verbose=False)
    model.save(tmp_path / "model")
    return tmp_path / "model"


def opened(directory: Path, config: Any = None) -> ws.LanguageModel:
    if config is not None:
        text = config if isinstance(config, str) else json.dumps(config)
        (directory / "generation_config.json").write_text(text, encoding="utf-8")
    return ws.LanguageModel.from_pretrained(directory, precision="f32", random_state=0, verbose=False)


# As transformers 5.24.0 (GenerationConfig.update with defaults_only): arguments, then the file; our defaults last.
@pytest.mark.parametrize(
    ("config", "given", "expected"),
    [
        (
            {},
            {},
            {"max_new_tokens": 50, "max_length": None, "temperature": 1.0, "top_k": None, "top_p": 1.0, "stop": []},
        ),
        (
            {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.9, "repetition_penalty": 1.05},
            {},
            {"temperature": 0.6, "top_k": 20, "top_p": 0.9, "repetition_penalty": 1.05},
        ),
        ({"temperature": 0.6, "top_k": 20}, {"temperature": 0.0, "top_k": 5}, {"temperature": 0.0, "top_k": 5}),
        ({"do_sample": False, "temperature": 0.6}, {}, {"temperature": 0.0}),
        ({"do_sample": False}, {"temperature": 0.5}, {"temperature": 0.5}),
        # Ours: transformers warns that these have no effect where the file says do_sample false.
        ({"do_sample": False}, {"top_p": 0.9}, {"temperature": 1.0, "top_p": 0.9, "top_k": None}),
        ({"do_sample": False, "temperature": 0.6}, {"top_k": 50}, {"temperature": 0.6, "top_k": 50}),
        ({"do_sample": False, "temperature": 0.0}, {"top_k": 50}, {"temperature": 1.0, "top_k": 50}),
        ({"temperature": 0}, {}, {"temperature": 0.0}),
        ({"temperature": 0}, {"top_p": 0.9}, {"temperature": 1.0, "top_p": 0.9}),
        ({"temperature": 0.6}, {"temperature": 0, "top_p": 0.9}, {"temperature": 0.0}),
        ({"do_sample": False}, {"repetition_penalty": 1.2, "max_new_tokens": 5}, {"temperature": 0.0}),
        ({"do_sample": None, "temperature": None, "top_k": 0}, {}, {"temperature": 1.0, "top_k": None}),
        ({"max_new_tokens": 7, "max_length": 20}, {}, {"max_new_tokens": 7, "max_length": None}),
        ({"max_length": 20}, {}, {"max_new_tokens": None, "max_length": 20}),
        ({"max_length": 20}, {"max_new_tokens": 3}, {"max_new_tokens": 3, "max_length": None}),
        ({"stop_strings": "END"}, {}, {"stop": ["END"]}),
        ({"stop_strings": ["END", "\n"]}, {"stop": "x"}, {"stop": ["x"]}),
    ],
)
def test_arguments_that_are_none_take_the_value_of_the_file(config, given, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = options(config, **given)
    assert {name: found[name] for name in expected} == expected


def test_settings_that_change_nothing_pass_and_others_are_named_in_a_warning():
    harmless = {
        "_from_model_config": True,
        "transformers_version": "5.24.0",
        "eos_token_id": [1, 2],
        "bos_token_id": 0,
        "pad_token_id": 0,
        "use_cache": False,
        "num_beams": 1,
        "length_penalty": 0.5,
        "typical_p": 1.0,
        "no_repeat_ngram_size": 0,
        "bad_words_ids": None,
        "suppress_tokens": [],
        "token_healing": False,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        options(harmless)
    others = {"num_beams": 4, "penalty_alpha": 0.6, "bad_words_ids": [[3]], "min_p": 0.05, "novelty": "x"}
    message = (
        r"generation_config.json asks for bad_words_ids=\[\[3\]\], min_p=0.05, novelty='x', num_beams=4, "
        r"penalty_alpha=0.6, which generate does not have"
    )
    with pytest.warns(UserWarning, match=message):
        options(harmless | others)


def test_config_json_says_how_where_no_other_file_does():
    # Both transformers 4.57.6 and 5.24.0 make their GenerationConfig of it; old ones wrote the defaults out.
    wrote_out = {"do_sample": False, "temperature": 1.0, "top_k": 50, "max_length": 20, "num_beams": 1, "n_layer": 2}
    assert generation_options(wrote_out, "config.json", **NONE) == generation_options({}, **NONE)
    asked = {"do_sample": True, "temperature": 0.5, "top_k": 7, "max_length": 30, "n_layer": 2}
    assert generation_options(asked, "config.json", **NONE) == generation_options(asked | {"n_layer": None}, **NONE)
    with pytest.warns(UserWarning, match="^config.json asks for num_beams=2, which generate does not have"):
        generation_options({"num_beams": 2}, "config.json", **NONE)


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"temperature": "hot"}, TypeError, "generation_config.json: temperature must be a number"),
        ({"temperature": -1}, ValueError, "^generation_config.json: temperature=-1: expected 0 or more"),
        (
            {"temperature": 1e39},
            ValueError,
            "^generation_config.json: temperature=1e[+]39: expected 0 or more, as float32",
        ),
        ({"top_p": 2}, ValueError, "^generation_config.json: top_p=2: expected more than 0 and at most 1"),
        ({"top_p": 0.0}, ValueError, "^generation_config.json: top_p=0.0: expected more than 0 and at most 1"),
        ({"top_p": 1e-50}, ValueError, "^generation_config.json: top_p=.*e-51: expected more than 0 and at most 1"),
        ({"repetition_penalty": 0}, ValueError, "^generation_config.json: repetition_penalty=0: expected more than 0"),
        ({"top_k": -1}, ValueError, "generation_config.json: top_k must be at least 1"),
        ({"do_sample": 1}, TypeError, "generation_config.json: do_sample must be True or False"),
        ({"max_new_tokens": 0}, ValueError, "generation_config.json: max_new_tokens must be at least 1"),
        ({"stop_strings": ""}, ValueError, "generation_config.json: stop_strings has an empty text"),
        ({"eos_token_id": "</s>"}, ws.DataError, 'generation_config.json: eos_token_id is "</s>"; expected the id'),
        (
            {"eos_token_id": [1, 2.5]},
            ws.DataError,
            r"generation_config.json: eos_token_id is \[1,2.5\]; expected the id",
        ),
        ({"eos_token_id": 99999999999}, ws.DataError, "eos_token_id has 99999999999, the model has vocab_size 30"),
        (
            {"eos_token_id": [-1, 3, 30]},
            ws.DataError,
            "generation_config.json: eos_token_id has 30, the model has vocab_size 30",
        ),
        ("[1]", ws.DataError, "generation_config.json: expected a JSON object"),
        ("{", ws.DataError, "generation_config.json: not valid JSON"),
    ],
)
def test_file_that_is_wrong_is_refused_by_name_where_it_is_needed(directory, config, error, message):
    model = opened(directory, config)
    assert model.token_log_probs(["a film"])  # which needs nothing of it
    with pytest.raises(error, match=message):
        model.generate("a film")


@pytest.mark.parametrize("given", [{"temperature": -0.5}, {"top_p": 2}, {"repetition_penalty": 0}])
def test_argument_out_of_its_range_is_named_as_one(given):
    ((name, value),) = given.items()
    for config in ({}, {name: 0.9}):
        with pytest.raises(ValueError, match=f"^{name}={value}: expected"):
            options(config, **given)
    with pytest.raises(ValueError, match=r"^config.json: top_p=2: expected"):
        generation_options({"top_p": 2}, "config.json", **NONE)
    bounds = {"temperature": (2 - 2.0**-23) * 2.0**127, "top_p": 2.0**-149, "repetition_penalty": 2.0**-149}
    found = options({}, **bounds)
    assert {key: found[key] for key in bounds} == bounds


def test_generation_ends_at_every_end_of_text_token_of_the_file_and_at_its_length(directory):
    plain = opened(directory)
    prompt, asked = "the film", {"temperature": 0, "repetition_penalty": 2.0}
    text = plain.generate(prompt, max_new_tokens=8, **asked)
    words = text.split()
    assert len(words) > 3
    ids = [plain.backbone_.tokenizer.encode([word])[0][1] for word in words]  # between [CLS] and [SEP]
    # The one that comes first ends it, wherever it stands in the list.
    last = next(i for i in range(2, len(ids)) if ids[i] not in ids[:i])
    for ends in (ids[last], [ids[last]], [ids[-1], ids[last]]):
        model = opened(directory, {"eos_token_id": ends})
        assert model.generate(prompt, max_new_tokens=8, **asked).split() == words[:last]
    for nothing in (None, -1, []):
        assert opened(directory, {"eos_token_id": nothing}).generate(prompt, max_new_tokens=8, **asked) == text
    greedy = {"do_sample": False, "repetition_penalty": 2.0, "max_new_tokens": 3}
    assert opened(directory, greedy).generate(prompt).split() == words[:3]
    n_prompt = len(plain.backbone_.tokenizer.encode([prompt])[0])
    length = {"do_sample": False, "repetition_penalty": 2.0, "max_length": n_prompt + 2}
    model = opened(directory, length)
    assert model.generate(prompt).split() == words[:2]
    with pytest.raises(ValueError, match=f"prompt 0 has {n_prompt + 2} tokens; max_length is {n_prompt + 2} in all"):
        model.generate(f"{prompt} was very")


def test_sampling_arguments_count_against_the_file(directory):
    asked: dict[str, Any] = {"max_new_tokens": 12, "random_state": 3}
    drawn = opened(directory).generate("the", **asked)
    likeliest = opened(directory).generate("the", temperature=0, **asked)
    assert drawn != likeliest
    greedy = opened(directory, {"do_sample": False})
    assert greedy.generate("the", **asked) == likeliest
    assert greedy.generate("the", top_p=1.0, **asked) == drawn
    one = opened(directory, {"top_k": 1})
    assert one.generate("the", **asked) == likeliest
    assert one.generate("the", top_k=10**6, **asked) == drawn


def test_files_are_kept_byte_for_byte_by_every_save_and_leave_with_what_they_belonged_to(
    directory, tokenizer_dir, tmp_path, texts, labels
):
    kept = TEMPLATES | {"generation_config.json": b'{"eos_token_id": [3, 4],\n "temperature": 0.60}\n'}
    for name, content in kept.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(content)
    (directory / "additional_chat_templates" / "notes.txt").write_text("not a template")
    model = opened(directory)
    classifier = ws.TextClassifier(model.backbone_, **FAST).fit(texts, labels)
    saves = {
        "language": model.save,
        "pickled": pickle.loads(pickle.dumps(model)).save,
        "backbone": model.backbone_.save_pretrained,
        "classifier": classifier.save,
    }
    for name, save in saves.items():
        save(tmp_path / name)
        assert {file: (tmp_path / name / file).read_bytes() for file in kept} == kept
        assert not (tmp_path / name / "additional_chat_templates" / "notes.txt").exists()
    assert ws.load(tmp_path / "classifier").predict(texts).tolist() == classifier.predict(texts).tolist()
    # A tokenizer takes its templates along, not how the model generates.
    model.backbone_.tokenizer.save(tmp_path / "tokenizer")
    assert {file: (tmp_path / "tokenizer" / file).read_bytes() for file in TEMPLATES} == TEMPLATES
    assert not (tmp_path / "tokenizer" / "generation_config.json").exists()
    again = ws.LanguageModel(tiny("gpt2", directory), random_state=0, verbose=False)
    again.save(tmp_path / "new")
    assert not (tmp_path / "new" / "generation_config.json").exists()
    # What another model left in the directory goes.
    tiny("gpt2", tokenizer_dir).save_pretrained(tmp_path / "language")
    assert not [file for file in kept if (tmp_path / "language" / file).exists()]


def with_metadata(source: Path, target: Path, **entries: tuple[int, bytes]) -> Path:
    """Copy a GGUF file with more metadata: the type of each value, and its bytes."""
    content = source.read_bytes()
    version, n_tensors, n_entries = struct.unpack_from("<IQQ", content, 4)
    added = b"".join(
        struct.pack("<Q", len(key.encode())) + key.encode() + struct.pack("<I", kind) + value
        for key, (kind, value) in entries.items()
    )
    # The data begins at a multiple of 32.
    padding = -len(added) % 32
    filler = struct.pack("<Q", 3) + b"pad" + struct.pack("<IQ", 8, (padding - 23) % 32) + bytes((padding - 23) % 32)
    head = content[:4] + struct.pack("<IQQ", version, n_tensors, n_entries + len(entries) + 1) + added + filler
    assert (len(added) + len(filler)) % 32 == 0
    target.write_bytes(head + content[24:])
    return target


def text(value: str) -> tuple[int, bytes]:
    return 8, struct.pack("<Q", len(value.encode())) + value.encode()


def test_gguf_files_bring_their_chat_templates_ends_of_text_and_sampling(tmp_path):
    file = with_metadata(
        GGUF / "gpt2.gguf",
        tmp_path / "model.gguf",
        **{
            "tokenizer.chat_template": text("{{ messages }} \u00e9"),
            "tokenizer.chat_template.rerank": text("<{{ query }}>"),
            "tokenizer.ggml.eot_token_id": (4, struct.pack("<I", 7)),
            "tokenizer.ggml.eom_token_id": (4, struct.pack("<I", 0)),
            "general.sampling.temp": (6, struct.pack("<f", 0.6)),
            "general.sampling.top_k": (5, struct.pack("<i", 20)),
            "general.sampling.penalty_repeat": (6, struct.pack("<f", 1.05)),
        },
    )
    model = ws.LanguageModel.from_pretrained(file, verbose=False)
    model.save(tmp_path / "saved")
    saved = tmp_path / "saved"
    assert (saved / "chat_template.jinja").read_text("utf-8") == "{{ messages }} \u00e9"
    assert (saved / "additional_chat_templates" / "rerank.jinja").read_text("utf-8") == "<{{ query }}>"
    config = json.loads((saved / "generation_config.json").read_text("utf-8"))
    sampling = {"do_sample": True, "temperature": 0.6, "top_k": 20, "repetition_penalty": 1.05}
    assert config == {"eos_token_id": [0, 7]} | sampling
    # A file that names one end of text and nothing else has no need of it.
    ws.LanguageModel.from_pretrained(GGUF / "gpt2.gguf", verbose=False).save(tmp_path / "plain")
    assert not (tmp_path / "plain" / "generation_config.json").exists()
    assert not (tmp_path / "plain" / "chat_template.jinja").exists()


@pytest.mark.parametrize("name", ["", "../evil", "a/b", "a.b", "\u00e9"])
def test_gguf_file_whose_template_has_the_name_of_no_file_is_refused(name, tmp_path):
    file = with_metadata(GGUF / "gpt2.gguf", tmp_path / "a.gguf", **{f"tokenizer.chat_template.{name}": text("x")})
    with pytest.raises(ws.DataError, match="expected a name of letters, digits, _ and -"):
        ws.Backbone.from_pretrained(file)
