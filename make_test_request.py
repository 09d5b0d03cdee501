"""Ask the running API about a payer who is likely on time and one who is likely late.

``make ask`` runs ``python make_test_request.py [URL]``.
"""

import os
import sys

try:
    from late_payers.client import ApiError, Client, Prediction
except ModuleNotFoundError as error:
    sys.exit(f"{error}. `make ask` installs it and asks.")

LIKELY_ON_TIME = {
    "id": "likely on time",
    "loan_amnt": 6000,
    "int_rate": 0.0619,
    "purpose": "credit_card",
    "grade": "A",
    "annual_inc": 110000,
    "revol_util": 0.21,
    "emp_length": "10+ years",
    "dti": 12.4,
    "delinq_2yrs": 0,
    "home_ownership": "MORTGAGE",
}

LIKELY_LATE = {
    "id": "likely late",
    "loan_amnt": 35000,
    "int_rate": 0.2677,
    "purpose": "small_business",
    "grade": "E",
    "annual_inc": 42000,
    "revol_util": 0.08,
    "emp_length": None,
    "dti": 4.1,
    "delinq_2yrs": 2,
    "home_ownership": "RENT",
}


def main(url: str = "http://127.0.0.1:5000") -> int:
    """Ask, and print a readable answer; returns the exit code. A key is taken from the environment: ``API_KEY``."""
    try:
        with Client(url, key=os.environ.get("API_KEY"), attempts=3) as client:
            predictions = client.predict_many([LIKELY_ON_TIME, LIKELY_LATE])
    except ApiError as error:
        print(f"{error}\nIs it running? `make run` starts it.", file=sys.stderr)
        return 1
    print(f"model {predictions[0].model_version[:12]}… at {url}")
    for prediction in predictions:
        show(prediction)
    return 0


def show(prediction: Prediction) -> None:
    """One payer's answer."""
    band = f", risk {prediction.band}" if prediction.band else ""
    print(f"\n{prediction.id}: late next quarter with a probability of {prediction.probability:.1%}{band}")
    for reason in prediction.reasons or ():
        print(f"  {reason.contribution:+.2f}  {reason.text}")
    for warning in prediction.warnings:
        print(f"  note  {warning.pointer}: {warning.detail}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
