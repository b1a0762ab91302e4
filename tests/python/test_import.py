"""`import warmstart` is quick and complete."""

import subprocess
import sys

import pytest
import warmstart as ws

HEAVY = ("sklearn", "scipy", "tqdm", "matplotlib", "pandas", "polars", "pyarrow", "datasets", "torch")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_import_loads_nothing_heavy():
    loaded = run(f"import sys, warmstart; print([m for m in {HEAVY!r} if m in sys.modules])")
    assert loaded == "[]"


def test_backbone_and_strategies_do_without_sklearn():
    loaded = run(
        "import sys, warmstart as ws; ws.Backbone; ws.FullFineTuning(); ws.History\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    assert loaded == "[]"


def test_import_takes_less_than_300_ms():
    code = "import time; t = time.perf_counter(); import warmstart; print(time.perf_counter() - t)"
    assert min(float(run(code)) for _ in range(5)) < 0.3


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
