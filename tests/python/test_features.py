"""`FeatureExtractor`: texts to vectors in a scikit-learn pipeline."""

import pickle

import numpy as np
import pytest
import warmstart as ws
from conftest import BAD, GOOD, make_texts
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC
from sklearn.utils.validation import check_is_fitted


def test_transform_equals_embed_without_fit(backbone, texts):
    extractor = ws.FeatureExtractor(backbone, layers=1, pooling="cls")
    check_is_fitted(extractor)
    vectors = extractor.transform(texts)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, backbone.embed(texts, layers=1, pooling="cls"))
    np.testing.assert_array_equal(extractor.fit_transform(texts), vectors)
    assert extractor.fit(texts) is extractor


@pytest.mark.parametrize(
    "model", [SVC(), RandomForestClassifier(50, random_state=0), LogisticRegression(max_iter=1000)]
)
def test_pipelines_learn_from_the_vectors(backbone, model):
    train, test = (make_texts(n, [BAD, GOOD], seed=s) for n, s in ((200, 0), (60, 1)))
    pipeline = make_pipeline(ws.FeatureExtractor(backbone, layers=0, pooling="mean"), model).fit(*train)
    assert pipeline.score(*test) > 0.7


def test_grid_search_over_layers_and_pooling(backbone, texts, labels):
    pipeline = make_pipeline(ws.FeatureExtractor(backbone), LogisticRegression(max_iter=1000))
    grid = {"featureextractor__layers": [0, -1, [0, 1]], "featureextractor__pooling": ["mean", "max"]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(texts, labels)
    assert len(search.cv_results_["params"]) == 6
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_clone_and_pickle(backbone, texts):
    extractor = ws.FeatureExtractor(backbone, layers=[0, -1])
    assert clone(extractor).backbone is backbone
    again = pickle.loads(pickle.dumps(extractor))
    np.testing.assert_array_equal(again.transform(texts), extractor.transform(texts))


def test_names_match_the_columns(backbone, texts):
    extractor = ws.FeatureExtractor(backbone, layers=[0, -1], pooling="mean")
    names = extractor.get_feature_names_out()
    assert len(names) == extractor.transform(texts).shape[1] == len(set(names))
    assert (names[0], names[-1]) == ("layer0_mean_0", "layer2_mean_31")


def test_output_may_be_a_data_frame(backbone, texts):
    pd = pytest.importorskip("pandas")
    frame = (
        ws.FeatureExtractor(backbone).set_output(transform="pandas").transform(pd.Series(texts, index=range(100, 116)))
    )
    assert frame.shape == (16, 32)
    assert frame.index[0] == 100


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"layers": 9}, ValueError, "layers=9 does not exist"),
        ({"pooling": "middle"}, ValueError, "pooling must be one of"),
        ({"batch_tokens": 0}, ValueError, "batch_tokens must be at least 1"),
        ({"max_length": -1}, ValueError, "max_length must be at least 1"),
        ({"device": "cuda"}, ws.DeviceError, "device='cuda' is not available"),
        ({"precision": "f16"}, ValueError, "precision must be one of .*'int8', got 'f16'"),
        ({"backbone": None}, TypeError, "backbone must be a Backbone, got NoneType"),
    ],
)
def test_bad_parameters_are_refused_by_transform(backbone, params, error, match):
    extractor = ws.FeatureExtractor(**{"backbone": backbone, **params})
    with pytest.raises(error, match=match):
        extractor.transform(["a text"])


def test_bad_texts_are_named(backbone):
    with pytest.raises(TypeError, match=r"texts\[1\] is None"):
        ws.FeatureExtractor(backbone).transform(["a", None])
