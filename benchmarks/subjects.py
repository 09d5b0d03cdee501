"""What is measured: our API with everything on, an empty Flask view, and the naive ways of serving the same pipeline.

``python -m benchmarks.subjects NAME`` serves one of those that are not ours on ``PORT``.
"""

# No `from __future__ import annotations`: FastAPI reads the annotations of a function that is made in another.
import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any

from modelbundle.format import archive, bundle

ARROW, CSV = "application/vnd.apache.arrow.stream", "text/csv"
THREADS, WORKERS = os.environ.get("THREADS", "4"), os.environ.get("WORKERS", "2")


def pipeline() -> Any:
    """The scikit-learn pipeline inside the bundle under test."""
    import joblib

    return joblib.load(io.BytesIO(archive.unpack(Path(os.environ["BUNDLE"]).read_bytes())[bundle.PIPELINE]))


def empty() -> Any:
    """A Flask view that parses the JSON and answers with a constant: what any Flask API costs at least."""
    from flask import Flask, jsonify, request

    app = Flask("empty")

    @app.post("/predict")
    def predict() -> Any:
        request.get_json()
        return jsonify(prediction=0, predict_proba=[0.979, 0.021])

    return app


def table(model: Any, body: bytes) -> Any:
    """The answer to a table of Arrow, through a frame of pandas, as a table."""
    import pyarrow as pa
    from flask import Response

    proba = model.predict_proba(pa.ipc.open_stream(body).read_pandas())
    predicted = pa.array(model.classes_[proba.argmax(axis=1)])
    answer = pa.record_batch({"prediction": predicted, "0": pa.array(proba[:, 0]), "1": pa.array(proba[:, 1])})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, answer.schema) as writer:
        writer.write_batch(answer)
    return Response(bytes(sink.getvalue()), mimetype=ARROW)


def sheet(model: Any, body: bytes) -> Any:
    """The answer to CSV, through a frame of pandas: the rows that were sent, with two columns more."""
    import pandas as pd
    from flask import Response

    frame = pd.read_csv(io.BytesIO(body))
    proba = model.predict_proba(frame)
    added = frame.assign(prediction=model.classes_[proba.argmax(axis=1)], probability=proba[:, -1])
    return Response(added.to_csv(index=False), mimetype=CSV)


def naive() -> Any:
    """Flask, a pandas frame per request, predict_proba: what most tutorials show; the frame comes as JSON, Arrow or CSV."""
    import pandas as pd
    from flask import Flask, jsonify, request

    app, model = Flask("naive"), pipeline()

    @app.post("/predict")
    def predict() -> Any:
        if request.mimetype == ARROW:
            return table(model, request.get_data())
        if request.mimetype == CSV:
            return sheet(model, request.get_data())
        data = request.get_json()
        frame = pd.DataFrame(data if isinstance(data, list) else [data])
        proba = model.predict_proba(frame)
        return jsonify(prediction=model.classes_[proba.argmax(axis=1)].tolist(), predict_proba=proba.tolist())

    return app


def prototype() -> Any:
    """What this project replaces, with its own gradient boosting: per request, the hash is asked for, then both predictions.

    Its rate is that of two scikit-learn calls of some milliseconds each, which differ between machines more than a view does.
    """
    import pandas as pd
    import requests
    from flask import Flask, jsonify, request

    from late_payers import pipelines, simulation
    from late_payers.features import COLUMNS, TARGET

    loans = simulation.simulate(20_000, 2)
    model = pipelines.gradient_boosting().fit(loans[list(COLUMNS)], loans[TARGET])
    app, url = Flask("prototype"), os.environ["MODEL_SERVER_URL"]

    @app.post("/predict")
    def predict() -> Any:
        sha256 = requests.get(f"{url}/pin", timeout=5).json()["serving"]["sha256"]
        data = request.get_json()
        frame = pd.DataFrame(data if isinstance(data, list) else [data])
        labels, proba = model.predict(frame).tolist(), model.predict_proba(frame).tolist()
        return jsonify(prediction=labels, predict_proba=proba, model_version=sha256)

    return app


def fastapi() -> Any:
    """The same on FastAPI."""
    import pandas as pd
    from fastapi import Body, FastAPI

    app, model = FastAPI(), pipeline()

    @app.post("/predict")
    def predict(data: Annotated[Any, Body()]) -> Any:
        frame = pd.DataFrame(data if isinstance(data, list) else [data])
        proba = model.predict_proba(frame)
        return {"prediction": model.classes_[proba.argmax(axis=1)].tolist(), "predict_proba": proba.tolist()}

    return app


def main(name: str) -> None:
    """Become the server of one subject."""
    port = os.environ["PORT"]
    if name == "fastapi":
        arguments = ["-m", "uvicorn", "benchmarks.subjects:fastapi", "--factory", "--port", port, "--workers", WORKERS]
        arguments += ["--log-level", "warning", "--no-access-log"]
    else:
        arguments = ["-m", "gunicorn", f"benchmarks.subjects:{name}()", "-b", f"127.0.0.1:{port}", "-w", WORKERS]
        arguments += ["-k", "gthread", "--threads", THREADS, "--preload", "--keep-alive", "75", "--no-control-socket"]
        arguments += ["--log-level", "warning"]
    os.execv(sys.executable, [sys.executable, *arguments])


if __name__ == "__main__":
    main(sys.argv[1])
