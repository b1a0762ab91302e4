"""The examples in the docstrings run as they stand."""

import doctest
import importlib
import pkgutil

import pytest
import warmstart as ws
from conftest import GOOD, make_texts

MODULES = sorted(m.name for m in pkgutil.iter_modules(ws.__path__, "warmstart.") if m.name != "warmstart._core")


@pytest.mark.parametrize("name", ["warmstart", *MODULES])
def test_examples_run(name, backbone, fitted, texts, labels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    backbone.save_pretrained("path/to/hf-dir")
    given = {
        "backbone": backbone,
        "clf": fitted,
        "texts": texts,
        "labels": labels,
        "dev_texts": texts,
        "dev_labels": labels,
        "new_texts": make_texts(3, [GOOD])[0],
    }
    result = doctest.testmod(importlib.import_module(name), extraglobs=given, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
