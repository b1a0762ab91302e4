"""Transfer learning for language models, without PyTorch.

>>> import warmstart as ws
>>> backbone = ws.Backbone.from_pretrained("path/to/hf-dir")
>>> clf = ws.TextClassifier(backbone, epochs=3, random_state=0).fit(texts, labels)
>>> predicted = clf.predict(new_texts)

Everything but the compiled core is imported on first use (PEP 562), so that ``import warmstart`` costs milliseconds and
scikit-learn is loaded when the first estimator is.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from warmstart._core import (
    DataError,
    DeviceError,
    TrainingError,
    WarmstartError,
    WeightsError,
    __version__,
    set_num_threads,
)

if TYPE_CHECKING:
    from warmstart.adapters import LoRA, MiSS
    from warmstart.backbone import Backbone
    from warmstart.classifier import TextClassifier
    from warmstart.entities import Entity
    from warmstart.features import FeatureExtractor
    from warmstart.history import History
    from warmstart.language_model import LanguageModel
    from warmstart.loading import load
    from warmstart.memory import MemoryEstimate
    from warmstart.objectives import CausalLM, MaskedLM, PermutationLM, ReplacedTokenDetection
    from warmstart.optim import AdamW
    from warmstart.regression_report import RegressionReport
    from warmstart.regressor import TextRegressor
    from warmstart.report import Report
    from warmstart.strategies import (
        BitFit,
        Combined,
        FullFineTuning,
        Layers,
        LinearProbing,
        NormTuning,
        TopLayers,
    )
    from warmstart.token_classifier import TokenClassifier
    from warmstart.tokenizer import Tokenizer, train_tokenizer

__all__ = [
    "AdamW",
    "Backbone",
    "BitFit",
    "CausalLM",
    "Combined",
    "DataError",
    "DeviceError",
    "Entity",
    "FeatureExtractor",
    "FullFineTuning",
    "History",
    "LanguageModel",
    "Layers",
    "LinearProbing",
    "LoRA",
    "MaskedLM",
    "MemoryEstimate",
    "MiSS",
    "NormTuning",
    "PermutationLM",
    "RegressionReport",
    "ReplacedTokenDetection",
    "Report",
    "TextClassifier",
    "TextRegressor",
    "TokenClassifier",
    "Tokenizer",
    "TopLayers",
    "TrainingError",
    "WarmstartError",
    "WeightsError",
    "__version__",
    "load",
    "set_num_threads",
    "train_tokenizer",
]

_LAZY = {
    "AdamW": "optim",
    "Backbone": "backbone",
    "BitFit": "strategies",
    "CausalLM": "objectives",
    "Combined": "strategies",
    "Entity": "entities",
    "FeatureExtractor": "features",
    "FullFineTuning": "strategies",
    "History": "history",
    "LanguageModel": "language_model",
    "Layers": "strategies",
    "LinearProbing": "strategies",
    "LoRA": "adapters",
    "MaskedLM": "objectives",
    "MemoryEstimate": "memory",
    "MiSS": "adapters",
    "NormTuning": "strategies",
    "PermutationLM": "objectives",
    "RegressionReport": "regression_report",
    "ReplacedTokenDetection": "objectives",
    "Report": "report",
    "TextClassifier": "classifier",
    "TextRegressor": "regressor",
    "TokenClassifier": "token_classifier",
    "Tokenizer": "tokenizer",
    "TopLayers": "strategies",
    "load": "loading",
    "train_tokenizer": "tokenizer",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'warmstart' has no attribute {name!r}")
    value = getattr(import_module(f"warmstart.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
