"""Estimators for scikit-learn's users, beside the estimators they know."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_wine
from sklearn.linear_model import LogisticRegressionCV, Ridge, RidgeCV
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    TimeSeriesSplit,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

from bilevax.sklearn import AdaptiveLogisticRegressionCV, AdaptiveRidgeCV, _room
from bilevax.sklearn import _fit as fit
from bilevax.sklearn import _task as task
from bilevax.sklearn._choice import Choice, Judged, choose, crossfitted, gain, overfits, stale
from bilevax.sklearn._penalties import Outer
from bilevax.sklearn._plan import nested
from bilevax.sklearn._search import Trace
from bilevax.sklearn._splits import splits

# They choose their precision themselves.
pytestmark = pytest.mark.usefixtures("x32")


def many_useless(seed, rows=150, useless=20):
    """A few columns that matter among many that do not."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(2 * rows, 4 + useless))
    y = X[:, :4] @ [2.0, -2.0, 1.0, 1.0] + random.normal(size=2 * rows)
    return X[:rows], y[:rows], X[rows:], y[rows:]


@pytest.fixture(scope="module")
def ridge():
    X, y, *_ = many_useless(0)
    return AdaptiveRidgeCV(cv=3, max_iter=8).fit(X, y)


@pytest.fixture
def one_room(monkeypatch):
    """Gives every table room for as many rows and columns: all share programs."""
    return lambda *sizes: monkeypatch.setattr(task, "rooms", lambda shape: sizes)


def test_what_matters_is_penalised_less_and_predictions_are_better(ridge):
    for seed in (0, 1):
        X, y, X_test, y_test = many_useless(seed)
        model = ridge if seed == 0 else clone(ridge).fit(X, y)
        usual = RidgeCV(alphas=np.logspace(-4, 4, 17), cv=3).fit(X, y)
        loss = lambda m: np.mean((m.predict(X_test) - y_test) ** 2)  # noqa: B023
        assert model.family_ != "shared" and loss(model) < 0.97 * loss(usual)
        assert model.penalties_[:4].max() < 0.1 * np.median(model.penalties_[4:])
        assert model.gain_.difference < 0 and "%" in model.gain_.sentence
        low, high = model.gain_.interval
        assert low < high


def test_shared_is_scikit_learns_ridge():
    X, y = load_diabetes(return_X_y=True)
    X, grid, cv = 20 * X, np.logspace(-2, 3, 6), KFold(4, shuffle=True, random_state=1)
    ours = AdaptiveRidgeCV(alphas=grid, cv=cv, scale=False, penalty="shared").fit(X, y)
    theirs = RidgeCV(alphas=grid, cv=cv, scoring="neg_mean_squared_error").fit(X, y)
    assert ours.shared_penalty_ == pytest.approx(theirs.alpha_)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6, atol=1e-8)
    assert ours.intercept_ == pytest.approx(theirs.intercept_, rel=1e-8)
    assert ours.gain_.difference == 0 and ours.family_ == "shared"


def test_columns_far_from_zero(ridge):
    """Squares of 1e9 lose what varies by 1; a column that does not vary has no effect."""
    X, y, X_test, _ = many_useless(0)
    far = np.where(np.arange(24) % 2, 1e9, 0.0)
    found = clone(ridge).fit(X + far, y)
    assert found.family_ == ridge.family_
    np.testing.assert_allclose(found.coef_, ridge.coef_, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.predict(X_test + far), ridge.predict(X_test), atol=1e-4)
    X[:, 5] = 1e9
    constant = clone(ridge).set_params(penalty="shared").fit(X, y)
    assert constant.coef_[5] == 0 and np.all(constant.coef_[:5] != 0)


def test_penalties_of_any_size():
    """As of features in small units, whose penalties are in units of their squares."""
    X, y, *_ = many_useless(0)
    options = {"alphas": [1e15], "scale": False, "penalty": "shared", "cv": 3}
    ours, theirs = AdaptiveRidgeCV(**options).fit(1e6 * X, y), Ridge(1e15).fit(1e6 * X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6)


def test_splits_that_are_given():
    there, mask = np.arange(20) != 3, np.arange(20) % 3 == 0
    of = lambda *cv: splits(list(cv), X, Y, None, False, None, there)
    (first, second), *_ = of((mask, ~mask))
    indices = [np.flatnonzero(part) for part in (mask[there], ~mask[there])]
    np.testing.assert_array_equal(first, indices[0])
    np.testing.assert_array_equal(second, indices[1])
    (_, last), *_ = of((np.flatnonzero(mask), [-1, -2]))
    np.testing.assert_array_equal(last, [18, 17])


@pytest.mark.parametrize("classes", [2, 3])
def test_shared_is_scikit_learns_logistic_regression(classes):
    X, y = load_wine(return_X_y=True)
    X, y = StandardScaler().fit_transform(X)[y < classes], y[y < classes]
    grid, cv = np.logspace(-2, 3, 6), 3
    ours = AdaptiveLogisticRegressionCV(alphas=grid, cv=cv, scale=False, penalty="shared")
    ours.fit(X, y)
    theirs = LogisticRegressionCV(
        Cs=1 / grid, cv=cv, scoring="neg_log_loss", tol=1e-10, max_iter=10**5,
        use_legacy_attributes=False, l1_ratios=(0,),
    ).fit(X, y)  # fmt: skip
    assert ours.shared_penalty_ == pytest.approx(1 / theirs.C_)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    shape = (len(X),) if classes == 2 else (len(X), 3)
    assert ours.decision_function(X).shape == shape


def test_sparse_data_give_the_same(ridge):
    """Kept sparse, and made dense as small ones are."""
    import bilevax.sklearn._base as base

    X, y, X_test, _ = many_useless(0)
    X[np.abs(X) < 1] = 0
    dense = clone(ridge).fit(X, y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "_DENSE", 0)
        sparse = clone(ridge).fit(scipy.sparse.csr_array(X), y)
    assert sparse.family_ == dense.family_
    np.testing.assert_allclose(sparse.coef_, dense.coef_, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        sparse.predict(scipy.sparse.csr_array(X_test)), sparse.predict(X_test), rtol=1e-12
    )


def test_room_for_more_rows_and_features_changes_nothing(ridge, compiled, monkeypatch):
    """Of classes; of numbers the next test says it."""
    X, y, *_ = many_useless(0)
    clone(ridge).fit(X[:140], y[:140])
    np.testing.assert_array_equal(compiled, [])  # and shares the programs of `ridge`
    # And those of `test_shared_is_scikit_learns_logistic_regression`.
    X, y = load_wine(return_X_y=True)
    logistic = AdaptiveLogisticRegressionCV(cv=3, max_iter=3).fit(X, y)
    assert logistic.family_ != "shared"
    monkeypatch.setattr(task, "rooms", lambda shape: shape)
    exact = clone(logistic).fit(X, y)
    assert (exact.family_, exact.step_) == (logistic.family_, logistic.step_)
    np.testing.assert_allclose(exact.coef_, logistic.coef_, rtol=1e-3, atol=1e-5)
    for name, found in exact.cv_results_.items():
        np.testing.assert_allclose(found, logistic.cv_results_[name], rtol=1e-4, atol=1e-6)
    # Weights of classes are no repetitions: with penalties as much larger, nothing changes.
    weights = dict.fromkeys(range(3), 100)
    options = {"alphas": 100 * np.logspace(-4, 4, 10), "class_weight": weights}
    heavy = clone(exact).set_params(**options).fit(X, y)
    assert heavy.family_ == exact.family_
    np.testing.assert_allclose(heavy.gain_.interval, exact.gain_.interval, rtol=1e-2)


def test_one_split_of_a_table_that_is_large_where_its_parts_are_not(monkeypatch):
    """The parts have room where the whole has none: the same model as if all had."""
    X, y, *_ = many_useless(0, rows=80, useless=17)
    monkeypatch.setattr(fit, "LARGE", 0)
    of = lambda cv: AdaptiveRidgeCV(cv=cv, penalty="feature", max_iter=2)
    small, large = of(5), of(None)
    small.fit(X, y)
    monkeypatch.setattr(_room, "_LARGE", X.size / 1.5)
    large.fit(X, y)
    np.testing.assert_allclose(large.coef_, small.coef_, rtol=1e-6)
    for name, found in small.cv_results_.items():
        np.testing.assert_allclose(large.cv_results_[name], found, rtol=1e-5)


def test_the_same_again_and_as_scikit_learns_tools_expect(ridge, one_room):
    X, y, X_test, _ = many_useless(0)
    one_room(160, 24)
    again = clone(ridge).fit(X, y)
    np.testing.assert_array_equal(again.coef_, ridge.coef_)
    back = pickle.loads(pickle.dumps(ridge))
    np.testing.assert_array_equal(back.predict(X_test), ridge.predict(X_test))
    frame = pd.DataFrame(X, columns=[f"c{i}" for i in range(X.shape[1])])
    pipe = make_pipeline(StandardScaler(), clone(ridge)).fit(frame, y)
    assert pipe.score(frame, y) > 0.8
    assert len(cross_val_score(clone(ridge), X, y, cv=2)) == 2
    search = GridSearchCV(clone(ridge), {"scale": [True, False]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.7
    named = clone(ridge).set_params(penalty="shared").fit(frame, y)
    assert named.feature_names_in_[0] == "c0" and named.n_features_in_ == 24
    assert (named.step_, named.n_iter_) == (0, 0)
    assert 1 <= ridge.step_ <= ridge.n_iter_ <= ridge.max_iter
    kept = {"theta_judged_loss", "free_judged_loss", "mean_validation_loss"}
    assert kept <= ridge.cv_results_.keys()


@pytest.mark.slow
@pytest.mark.parametrize("rows", ["dense", "sparse"])
def test_weights_are_repetitions_as_scikit_learn_checks_it(rows):
    """To its own tolerance, 1e-7, after folds, families and the choice between them."""
    check = getattr(estimator_checks, f"check_sample_weight_equivalence_on_{rows}_data")
    with warnings.catch_warnings(action="ignore"):
        check("AdaptiveRidgeCV", AdaptiveRidgeCV())


def test_weights_are_repetitions(one_room):
    one_room(64, 8)
    X, y, *_ = many_useless(0, rows=60, useless=4)
    times = np.arange(60) % 3
    rows = np.repeat(np.arange(60), times)
    folds = [(np.flatnonzero(np.arange(60) % 3 != k), np.flatnonzero(np.arange(60) % 3 == k))
             for k in ((0, 1, 2))]  # fmt: skip
    by_row = lambda split: tuple(np.flatnonzero(np.isin(rows, part)) for part in split)
    options = {"max_iter": 8}
    # Rows of weight zero are absent; three folds by the row's number, of which one has none.
    kept = np.flatnonzero(times)
    place = {row: i for i, row in enumerate(kept)}
    of_kept = [
        tuple(np.array([place[r] for r in part if r in place]) for part in split)
        for split in folds[1:]
    ]
    halves = [(of_kept[0][1], of_kept[1][1]), (of_kept[1][1], of_kept[0][1])]
    thirds = [(part[::2], part[1::2]) for part in map(np.concatenate, halves)]
    cv = halves + thirds
    weighted = AdaptiveRidgeCV(cv=cv, **options).fit(X[kept], y[kept], times[kept])
    repeated_cv = [by_row(tuple(kept[part] for part in split)) for split in cv]
    repeated = AdaptiveRidgeCV(cv=repeated_cv, **options).fit(X[rows], y[rows])
    assert weighted.family_ == repeated.family_
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-6, atol=1e-9)
    of_all = [tuple(kept[part] for part in split) for split in cv]
    zeros = AdaptiveRidgeCV(cv=of_all, **options).fit(X, y, times)
    np.testing.assert_array_equal(zeros.coef_, weighted.coef_)


def test_groups_and_descriptions_of_features():
    X, y, *_ = many_useless(0)
    groups = np.where(np.arange(24) < 4, "useful", "useless")
    model = AdaptiveRidgeCV(cv=3, max_iter=8, penalty="group", feature_groups=groups).fit(X, y)
    assert len(np.unique(model.penalties_)) == 2 and model.family_ == "free"
    described = AdaptiveRidgeCV(
        cv=GroupKFold(3), max_iter=8, penalty_features=np.arange(24.0) < 4
    ).fit(X, y, groups=np.arange(150) // 5)
    assert described.family_ in ("theta", "free")


def test_no_row_that_judges_a_run_takes_part_in_it():
    targets = np.arange(30.0)[:, None]
    for cv in (KFold(5), TimeSeriesSplit(4)):
        plan = nested(list(cv.split(targets)), np.ones(30), targets)
        for run in range(1, plan.num_runs):
            own = plan.run == run
            judging = plan.judge[:, own].any(axis=1)
            assert judging.any()
            assert (
                not plan.train[judging][:, own].any() and not plan.valid[judging][:, own].any()
            )
        assert not plan.judge[:, plan.run == 0].any()
        assert not (plan.train.astype(bool) & plan.valid.astype(bool)).any()
    assert (
        nested(list(KFold(5).split(targets)), np.ones(30), targets).run.tolist().count(0) == 5
    )


def trace(*levels, noise, rows=200, seed=0):
    base = np.random.default_rng(0).normal(size=rows)
    random = np.random.default_rng(seed + 1)
    steps = [base + level + noise * random.normal(size=rows) * (level != 0) for level in levels]
    return Trace(np.array(steps), np.zeros((len(levels), 1)), None)


def test_what_is_accepted():
    judged = Judged(np.ones(200), np.arange(200), np.arange(200) % 5)
    nothing, little = trace(0, -0.01, noise=1.0), trace(0, -0.3, -0.8, noise=1.0)
    much = trace(0, -1.0, noise=1.0)
    assert choose({"theta": nothing}, judged) == Choice("shared", 0)
    assert choose({"theta": nothing, "free": little}, judged) == Choice("free", 2)
    assert choose({"theta": much, "free": little}, judged) == Choice("theta", 1)
    found = gain({"theta": much}, judged, Choice("theta", 1))
    assert found.interval[0] < -1 < found.interval[1] < -0.8
    kept = gain({"theta": nothing}, judged, Choice("shared", 0))
    assert kept.difference == 0 and kept.sentence.startswith("No gain")


def test_the_simpler_family_is_taken_unless_the_other_is_better_beyond_chance():
    judged = Judged(np.ones(200), np.arange(200), np.arange(200) % 5)
    simple, more = trace(0, -1.0, noise=1.0), trace(0, -1.02, noise=1.0, seed=1)
    assert choose({"theta": simple, "free": more}, judged).family == "theta"
    much = trace(0, -2.0, noise=1.0, seed=1)
    assert choose({"theta": simple, "free": much}, judged).family == "free"


def test_of_steps_that_are_as_good_the_first_is_taken():
    judged = Judged(np.ones(200), np.arange(200), np.arange(200) % 5)
    # The third is better than the second, but by less than chance.
    assert choose({"theta": trace(0, -1.0, -1.001, noise=0.1)}, judged) == Choice("theta", 1)
    assert choose({"theta": trace(0, -1.0, -2.0, noise=0.1)}, judged) == Choice("theta", 2)


def test_a_gain_that_other_folds_do_not_see_is_none():
    """The whole of it comes from one fold at its own best step."""
    judged = Judged(np.ones(100), np.arange(100), np.arange(100) % 2)
    wave = lambda t: np.where(np.arange(100) % 2 == t % 2, -1.0, 0.9)
    losses = np.stack([np.zeros(100), wave(0), wave(1)])
    empty = np.zeros((3, 1))
    swings = Trace(losses, empty, Outer(empty, empty, empty))
    assert np.all(crossfitted({"free": swings}, judged) == 0.9)
    assert choose({"free": swings}, judged) == Choice("shared", 0)


def test_a_family_ends_where_it_has_been_worse_for_long():
    judged = Judged(np.ones(200), np.arange(200), np.arange(200) % 5)
    end = lambda *levels, noise=0.1: overfits(trace(*levels, noise=noise).judged, judged)
    assert end(0, -1, 0.5, 1, 2, 3) and end(0, 1, 2, 3, 4)
    assert not end(0, -1, -2, 0.5, 1, 2)  # only three steps are worse
    assert not end(0, 1, 2, 3, -0.5, 4)  # a better one is among the last four
    assert not end(0, -1, -0.99, -0.99, -0.99, -0.99, noise=1.0)  # not by a standard error


def test_a_family_is_stale_where_its_best_step_lies_far_back():
    judged = Judged(np.ones(200), np.arange(200), np.arange(200) % 5)
    found = lambda *levels: stale(trace(*levels, noise=0.0).judged, judged)
    assert found(0, -1, *[0.5] * 8) and not found(0, -1, *[0.5] * 7)
    assert not found(*range(0, -20, -1))


def test_standard_errors_count_repetitions_and_clusters():
    random = np.random.default_rng(0)
    values, times = random.normal(size=50), random.integers(1, 4, 50)
    folds, rows = np.zeros(50), np.repeat(np.arange(50), times)
    one = Judged(times.astype(float), np.arange(50), folds).standard_error(values)
    other = Judged(np.ones(len(rows)), np.arange(len(rows)), folds[rows])
    assert one == pytest.approx(other.standard_error(values[rows]))
    together = Judged(np.ones(len(rows)), rows, folds[rows]).standard_error(values[rows])
    assert together > 1.2 * one  # ten copies of a row are no ten rows
    # What rows weigh beside their number makes no more of them.
    weights = np.where(np.arange(50) % 4, 1.0, 7.0)
    of = lambda times, weights: Judged(weights, np.arange(50), folds, times)
    errors = [of(np.ones(50), c * weights).standard_error(values) for c in (0.01, 1, 100)]
    np.testing.assert_allclose(errors, errors[0])
    assert of(times, 5.0 * times).standard_error(values) == pytest.approx(one)
    drawn = random.normal(size=(2000, 50))
    spread = np.std(drawn @ weights / weights.sum())
    assert np.mean([of(np.ones(50), weights).standard_error(v) for v in drawn]) == (
        pytest.approx(spread, rel=0.1)
    )


def test_nothing_to_gain_is_said_and_nothing_is_lost():
    losses = []
    for seed in range(4):
        random = np.random.default_rng(seed)
        X, y = random.normal(size=(200, 24)), random.normal(size=200)
        X, X_test, y, y_test = train_test_split(X, y, random_state=0)
        loss = lambda m: np.mean((m.predict(X_test) - y_test) ** 2)  # noqa: B023
        model = AdaptiveRidgeCV(cv=3, max_iter=8).fit(X, y)
        shared = AdaptiveRidgeCV(cv=3, penalty="shared").fit(X, y)
        losses.append(np.log(loss(model) / loss(shared)))
    assert np.mean(losses) < 0.02


X, Y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2


@pytest.mark.parametrize(
    ("options", "data", "extra", "words"),
    [
        ({}, (X * np.where(np.arange(20) == 3, np.nan, 1)[:, None], Y), {}, "contains NaN"),
        ({}, (X, Y[:-1]), {}, "inconsistent numbers of samples"),
        ({}, (X, np.zeros(20)), {}, "only one class"),
        ({}, (X, np.arange(20) < 3), {}, "number of members in each class"),
        ({}, (X, Y), {"sample_weight": -np.ones(20)}, "[Nn]egative values"),
        ({}, (X, Y), {"sample_weight": np.zeros(20)}, "at least one non-zero number"),
        ({}, (X, Y), {"groups": np.arange(20) // 2}, "group splitter"),
        ({"cv": KFold(3)}, (X, Y), {"groups": np.arange(20) // 2}, "group splitter"),
        ({"penalty": "fature"}, (X, Y), {}, "Did you mean 'feature'"),
        ({"penalty": "group"}, (X, Y), {}, "needs feature_groups"),
        ({"feature_groups": [0, 1]}, (X, Y), {}, "each of the 3 features"),
        ({"penalty_features": [0, 1]}, (X, Y), {}, "one row for each of the 3 features"),
        ({"alphas": [0.0, 1.0]}, (X, Y), {}, "positive numbers"),
        ({"max_iter": 0}, (X, Y), {}, "at least 1"),
        ({"max_iter": 8.0}, (X, Y), {}, "an int of at least 1"),
        ({"cv": []}, (X, Y), {}, "used up by one fit"),
        ({"cv": 5.0}, (X, Y), {}, "as an integer"),
        ({"class_weight": {0: 0, 1: 1}}, (X, Y), {}, "positive for every class"),
        ({}, (X, np.linspace(0, 1, 20)), {}, "continuous"),
        ({"cv": [(np.arange(9), np.arange(9, 20))]}, (X, np.arange(20) < 9), {}, "every class"),
    ],
)  # fmt: skip
def test_bad_input(options, data, extra, words):
    with pytest.raises(ValueError, match=words):
        AdaptiveLogisticRegressionCV(**options).fit(*data, **extra)
