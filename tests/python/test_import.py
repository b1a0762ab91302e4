"""`import warmstart` loads little and is complete."""

import json
import pickle
import subprocess
import sys

import pytest
import warmstart as ws
from conftest import CONFIG

# Top-level names of what is neither Python's own nor loaded before, and the submodules of warmstart.
LOADED = """
import sys
def loaded():
    tops = {name.partition(".")[0] for name in sys.modules.keys() - before} - sys.stdlib_module_names
    return sorted(tops | {name for name in sys.modules if name.startswith("warmstart.")})
before = set(sys.modules)
"""


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_import_loads_the_core_alone():
    """Nothing that would take time, on any machine."""
    assert run(f"{LOADED}import warmstart; print(*loaded())") == "warmstart warmstart._core"


def test_backbone_strategies_and_language_model_load_nothing_but_numpy_and_parts_of_warmstart():
    """No scikit-learn, pandas, matplotlib, huggingface_hub nor tqdm until they are needed."""
    code = "import warmstart as ws; ws.Backbone; ws.FullFineTuning(); ws.History; ws.LanguageModel"
    found = run(f"{LOADED}{code}; print(*loaded())").split()
    # What Cython adds is of numpy.random.
    others = [name for name in found if not name.startswith(("warmstart.", "_cython", "cython"))]
    assert others == ["numpy", "warmstart"]


def test_estimators_load_scikit_learn_and_nothing_to_show_or_fetch_with():
    """What scikit-learn itself loads, as pandas where it is installed, is its own."""
    code = (
        "import warmstart as ws; ws.TextClassifier, ws.TokenClassifier, ws.FeatureExtractor, ws.LanguageModel, ws.load"
    )
    found = set(run(f"{LOADED}{code}; print(*loaded())").split())
    assert found >= {"numpy", "sklearn", "warmstart"}
    assert not {"datasets", "huggingface_hub", "matplotlib", "polars", "torch", "tqdm"} & found


def test_every_name_is_there_and_listed():
    for name in ws.__all__:
        assert getattr(ws, name) is not None
    assert set(ws.__all__) <= set(dir(ws))
    assert ws.__version__


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        ws.Nonsense  # noqa: B018


def test_exceptions_form_one_tree():
    for kind in (ws.WeightsError, ws.DataError, ws.DeviceError, ws.TrainingError):
        assert issubclass(kind, ws.WarmstartError)
    assert issubclass(ws.WarmstartError, Exception)


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        (ws.WeightsError, ValueError),
        (ws.DataError, ValueError),
        (ws.DeviceError, RuntimeError),
        (ws.TrainingError, RuntimeError),
    ],
)
def test_exceptions_are_also_those_of_python(kind, own):
    with pytest.raises(own, match="why") as raised:
        raise kind("why")
    assert type(raised.value) is kind
    assert (kind.__module__, kind.__bases__) == ("warmstart", (ws.WarmstartError, own))
    assert kind.__doc__
    again = pickle.loads(pickle.dumps(raised.value))
    assert (type(again), again.args) == (kind, ("why",))


def test_what_the_core_raises_is_caught_as_a_value_error(tmp_path, tokenizer_dir):
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    (tmp_path / "vocab.txt").write_bytes((tokenizer_dir / "vocab.txt").read_bytes())
    with pytest.raises(ValueError, match="safetensors") as raised:
        ws.Backbone.from_pretrained(tmp_path)
    assert isinstance(raised.value, ws.WeightsError)
