"""The basic model, from loans to a bundle: load, fit, publish, and score two payers.

A random forest of ten trees, grown until every leaf is pure. It knows its training loans by heart and little about others;
`improve_model.ipynb` improves on it. Run it with `make basic`.
"""

import sys
from pathlib import Path

try:
    import pandas as pd
    from sklearn.metrics import roc_auc_score
except ModuleNotFoundError as error:
    sys.exit(f"{error}. `make basic` installs it and runs this script.")

from late_payers import data
from late_payers.code_version import code_version
from late_payers.features import WORDS
from late_payers.folds import out_of_fold
from late_payers.pipelines import basic_forest
from late_payers.recipe import split
from modelbundle.format.outcome import Outcome
from modelbundle.publishing.annotations import Author
from modelbundle.publishing.publish import publish

BUNDLE = Path("models/basic-random-forest.bundle")

LIKELY_ON_TIME = {
    "loan_amnt": 6000,
    "int_rate": 0.0619,
    "purpose": "credit_card",
    "grade": "A",
    "annual_inc": 110000.0,
    "revol_util": 0.21,
    "emp_length": "10+ years",
    "dti": 12.4,
    "delinq_2yrs": 0,
    "home_ownership": "MORTGAGE",
}

LIKELY_LATE = {
    "loan_amnt": 35000,
    "int_rate": 0.2677,
    "purpose": "small_business",
    "grade": "E",
    "annual_inc": 42000.0,
    "revol_util": 0.08,
    "emp_length": None,
    "dti": 4.1,
    "delinq_2yrs": 2,
    "home_ownership": "RENT",
}

# Load: the original quarter where it has been put under data/, otherwise a stand-in of the same shape. It says which.
try:
    book = data.load()
except data.DataError as error:
    sys.exit(str(error))
features, labels = split(book.training)
print(f"{len(labels):,} loans, {labels.mean():.2%} of them late")

# Fit: medians for missing numbers, a category of its own for missing text, one-hot columns, ten trees.
model = basic_forest().fit(features, labels)

# Judge: on its own training loans, and on loans that it has not seen.
train_auc = roc_auc_score(labels, model.predict_proba(features)[:, 1])
cv_auc = roc_auc_score(labels, out_of_fold(basic_forest, features, labels).probabilities)
print(f"ROC-AUC on the training loans {train_auc:.3f}, cross-validated {cv_auc:.3f}")
metrics = {"train_roc_auc": round(float(train_auc), 4), "cross_validated_roc_auc": round(float(cv_auc), 4)}
if book.test is not None:
    test_features, test_labels = split(book.test)
    test_auc = roc_auc_score(test_labels, model.predict_proba(test_features)[:, 1])
    print(f"ROC-AUC on the {len(test_labels):,} loans of the following quarter {test_auc:.3f}")
    metrics["following_quarter_roc_auc"] = round(float(test_auc), 4)

# Publish: one file with the pipeline, its schema and its tables, which the model service can be pinned to.
published = publish(
    model,
    features,
    labels,
    BUNDLE,
    author=Author(
        name="basic-random-forest",
        title="Late payers, basic random forest",
        positive="late next quarter",
        features=WORDS,
        training={"data": book.description, "fingerprint": book.fingerprint, "code_version": code_version()},
        metrics=metrics,
        outcome=Outcome("is_late", (False, True)),
    ),
)
print(f"published {published.path}, {published.path.stat().st_size / 1e6:.1f} MB, SHA-256 {published.sha256}")

# Score: two payers. Ten trees can only say 0, 0.1, ..., 1.
for name, payer in (("likely on time", LIKELY_ON_TIME), ("likely late", LIKELY_LATE)):
    probability = model.predict_proba(pd.DataFrame([payer], columns=features.columns))[0, 1]
    print(f"{name}: probability of being late {probability:.2f}")
