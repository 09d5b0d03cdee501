"""Bundles with a forest of any size, made without training: the schema of another bundle, and random trees of its features."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from modelbundle import golden
from modelbundle.durable import write
from modelbundle.format import archive, arrays, bundle, manifest, values
from modelbundle.schema import Schema
from modelbundle.scorers.bins import CategoryBins, NumberBins
from modelbundle.scorers.trees import Questions, Trees, TreesScorer

NODE_BYTES = 28
QUESTIONS = 8  # per category


def scorer(schema: Schema, trees: int, depth: int, seed: int) -> TreesScorer:
    """The mean of the probabilities of complete trees."""
    each = (2 << depth) - 1  # nodes
    rng = np.random.default_rng(seed)
    questions = []
    for feature in schema:
        bins = NumberBins(np.empty(0)) if feature.kind == "number" else CategoryBins(feature.categories)
        asked = 0 if feature.kind == "number" else QUESTIONS
        questions.append(Questions(bins, rng.integers(0, 2, (bins.size, asked), dtype=np.uint8)))
    numbers = np.array([2 * i for i, feature in enumerate(schema) if feature.kind == "number"])
    ends = np.array([feature.observed or (0.0, 1.0) for feature in schema])
    flags = np.arange(2 * len(schema), 2 * len(schema) + sum(q.answers.shape[1] for q in questions))
    own = np.arange(each)
    leaf = own >= each // 2
    below = np.where(leaf[:, None], own[:, None], 2 * own[:, None] + np.array([1, 2]))
    starts = np.arange(trees, dtype=np.int64) * each
    columns = rng.choice(np.concatenate([numbers, flags]), trees * each)
    low, high = ends[np.minimum(columns // 2, len(schema) - 1)].T
    cuts = np.where(columns < 2 * len(schema), low + (high - low) * rng.random(len(columns)), 0.5)
    nodes = Trees(
        starts.astype(np.int32),
        columns.astype(np.int32),
        cuts,
        (below[None] + starts[:, None, None]).reshape(-1, 2).astype(np.int32),
        np.where(np.tile(leaf, trees), rng.random(trees * each) * 0.05, 0.0),
    )
    return TreesScorer(0.0, "identity", questions, nodes)


def make(source: Path, target: Path, megabytes: float, depth: int = 12, seed: int = 0) -> Path:
    """Write a bundle with tables of about ``megabytes`` (of a million bytes) for the schema of the bundle ``source``."""
    entries = archive.unpack(source.read_bytes())
    data = values.loads(manifest.NAME, entries[manifest.NAME])
    model = bundle.read(source)
    trees = max(1, round(megabytes * 1e6 / ((2 << depth) * NODE_BYTES)))
    made = scorer(model.schema, trees, depth, seed)
    header, tables = made.to_parts()
    kept = {name: entries[name] for name in (bundle.REFERENCE, bundle.CARD) if name in entries}
    entries = {**kept, bundle.SCORER: manifest.dump(header), bundle.TABLES: arrays.pack(tables)}
    rows = golden.make(model.schema)
    data.update(
        format=manifest.FORMAT,
        name=f"forest-{seed}",
        scorer={"kind": made.kind},
        golden={"rows": [list(row) for row in rows], "scores": [made.score_row(row) for row in rows]},
        files=manifest.listing(entries),
    )
    data.pop("baseline", None)  # of another scorer
    entries[manifest.NAME] = manifest.dump(data)
    write(target, archive.pack(entries))
    return target
