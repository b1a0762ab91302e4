"""Recomputation, the estimate of a run's memory, and the refusal of what the machine cannot hold."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import warmstart as ws
from warmstart import memory

ROOT = Path(__file__).parents[2]
SMALL = {"layers": 6, "hidden": 384, "texts": 8, "tokens": 128, "vocabulary": 1000}
linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc")


def peak(batches=4, family="bert", case=None, **params):
    """Estimated and measured bytes of a run of two steps in a fresh process."""
    params = {"max_steps": 2, "batch_tokens": 2048, **params}
    case = {"shape": SMALL | {"family": family}, "batches": batches, "params": params, **(case or {})}
    path = os.pathsep.join([str(Path(ws.__file__).parents[1]), str(ROOT)])
    command = [sys.executable, "-m", "bench.memory_worker", json.dumps(case)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}
    )
    found = json.loads(done.stdout)
    return found["estimated"], found["measured"]


@linux
def test_estimate_is_within_10_percent_and_recomputation_takes_less():
    measured = {}
    for recompute in (False, True):
        estimate, measured[recompute] = peak(recompute=recompute, precision="f32")
        assert estimate == pytest.approx(measured[recompute], rel=0.1)
    assert measured[True] < 0.8 * measured[False]


@linux
@pytest.mark.parametrize("family", ["albert", "gpt2", "llama", "modernbert", "qwen3", "xlnet"])
def test_estimate_of_other_families_is_within_10_percent(family):
    estimate, measured = peak(family=family, precision="bf16")
    assert estimate == pytest.approx(measured, rel=0.1)


@linux
@pytest.mark.parametrize(
    ("family", "objective"),
    [
        ("bert", "MaskedLM"),
        ("gpt2", "CausalLM"),
        ("xlnet", "PermutationLM"),
        ("electra", "ReplacedTokenDetection"),
    ],
)
@pytest.mark.parametrize("recompute", [False, True])
def test_estimate_of_pretraining_is_within_10_percent(family, objective, recompute):
    case = {"objective": objective, "eval": recompute}
    estimate, measured = peak(family=family, case=case, precision="f32", recompute=recompute, max_steps=3)
    assert estimate == pytest.approx(measured, rel=0.1)


@linux
def test_estimate_of_a_model_that_was_asked_is_within_10_percent():
    """What it keeps to be asked again goes before it is trained."""
    estimate, measured = peak(batches=1, family="gpt2", case={"objective": "CausalLM", "asked": True}, precision="f32")
    assert estimate == pytest.approx(measured, rel=0.1)


@linux
def test_estimate_of_a_frozen_model_that_remembers_is_within_10_percent():
    case = {"objective": "PermutationLM"}
    estimate, measured = peak(family="xlnet", case=case, precision="f32", strategy="LinearProbing", max_steps=3)
    assert estimate == pytest.approx(measured, rel=0.1)


def test_pretraining_when_memory_is_short_is_refused_with_advice(backbone, texts, monkeypatch, tmp_path, capsys):
    params = {"max_steps": 1, "batch_tokens": 256, "cache_dir": tmp_path}
    model = ws.LanguageModel(backbone, max_length=32, **params)
    found = model.estimate_memory(texts * 8)
    assert found.gradients == found.trainable == found.optimizer // 2 > 0
    monkeypatch.setattr(memory, "available_bytes", lambda: found.growth - 1)
    with pytest.raises(ws.DeviceError, match=r"batch_tokens=128 .*fits.*recompute=True .*LinearProbing"):
        model.fit(texts * 8)
    assert not hasattr(model, "history_")
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    capsys.readouterr()
    model.fit(texts * 8)
    assert "MiB at the peak" in capsys.readouterr().err


@linux
def test_estimate_of_probing_is_within_10_percent():
    estimate, measured = peak(strategy="LinearProbing", precision="f32")
    assert estimate == pytest.approx(measured, rel=0.1)


def test_recomputation_gives_the_same_weights_to_the_byte(make, texts, labels):
    kept, again = (make(recompute=recompute).fit(texts, labels) for recompute in (False, True))
    weights = [clf._trained.model.__reduce__()[1][0]["weights"] for clf in (kept, again)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_recompute_must_be_a_bool(make, texts, labels, value):
    with pytest.raises(TypeError, match="recompute must be True or False"):
        make(recompute=value).fit(texts, labels)


def test_recompute_is_a_parameter(make):
    assert make(recompute=True).get_params()["recompute"] is True


def test_estimate_shows_its_parts_and_their_sum(make, texts, labels):
    found = make().estimate_memory(texts, labels, (texts, labels))
    parts = [size for name, size, _ in found._rows() if name != "total"]
    assert found.total == sum(parts)
    assert found.gradients == found.trainable == found.optimizer // 2 > 0
    assert found.kept == found.trainable
    assert "activations" in repr(found)
    assert "Memory at the peak" in found._repr_html_()


def test_estimate_follows_strategy_and_batch(make, texts, labels):
    full = make(batch_tokens=64).estimate_memory(texts, labels)
    assert make(batch_tokens=16).estimate_memory(texts, labels).activations < full.activations
    probing = make(strategy=ws.LinearProbing()).estimate_memory(texts, labels)
    assert probing.gradients < full.gradients


def test_fit_when_memory_is_short_is_refused_with_advice(make, texts, labels, monkeypatch):
    clf = make(batch_tokens=128)
    needed = clf.estimate_memory(texts, labels).growth
    monkeypatch.setattr(memory, "available_bytes", lambda: needed - 1)
    with pytest.raises(ws.DeviceError, match=r"batch_tokens=64 .*fits.*recompute=True .*LinearProbing"):
        clf.fit(texts, labels)
    assert not hasattr(clf, "classes_")
    monkeypatch.setattr(memory, "available_bytes", lambda: needed + 2**20)
    clf.fit(texts, labels)


def test_fit_when_nothing_tells_the_memory_goes_on(make, texts, labels, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    assert make().fit(texts, labels).n_iter_ > 0


def test_available_memory_is_read_from_the_system_and_its_groups(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 10 kB\nMemAvailable:   4 kB\n")
    assert memory._meminfo_available(meminfo) == 4096
    assert memory._meminfo_available(tmp_path / "absent") is None
    (tmp_path / "memory.max").write_text("100\n")
    (tmp_path / "memory.current").write_text("30\n")
    assert memory._cgroup_available(tmp_path) == [70, None]
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._cgroup_available(tmp_path) == [None, None]
