"""`kopru models evaluate | benchmark`: how right a model is about files with known labels, and how fast it is here.

Both run it in this process, beside the daemon and without it; nothing is stored and nothing reported.
"""

import csv
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from daemon.cli.options import FAILED, Json
from daemon.cli.output import fail, print_json, print_table, say
from runtime import ModelPackage, Runtime, RuntimeFailure
from runtime.evaluation import Measures, measure
from runtime.statistics import Proportion
from runtime.tensors import made_up

Model = Annotated[str, typer.Argument(help="The package's name, or its folder.")]


def evaluate(
    context: typer.Context,
    model: Model,
    labels: Annotated[Path, typer.Argument(help="A CSV table with the columns file and label.", exists=True)],
    folder: Annotated[
        Path | None, typer.Option(help="Where the files are; by default beside the table.", file_okay=False)
    ] = None,
    json: Json = False,
) -> None:
    """Measure MODEL on DICOM files or images whose labels are known. What it does not analyse is counted apart.

    Exits with 1 if a file cannot be read, or none could be analysed.
    """
    from daemon.cli.infer import answer_about, package_of, runtime_of

    package = package_of(context, model)
    rows = _read_table(labels, package)
    counts: Counter[str] = Counter()
    scores, targets = [], []
    names = [label.name for label in package.labels]
    try:
        with runtime_of(context, package) as runtime:
            for name, label in rows:
                answer = answer_about((folder or labels.parent) / name, package, runtime)
                kind = next((k for k in ("error", "not_analysable") if k in answer), "analysed")
                counts[kind] += 1
                if kind == "error":
                    fail(f"{name}: {answer['error']}")
                elif kind == "analysed":
                    scores.append([answer["probabilities"][label_name] for label_name in names])
                    targets.append(names.index(label))
    except RuntimeFailure as error:
        fail(f"the model cannot be loaded: {error}")
        raise typer.Exit(FAILED) from None
    if not scores:
        fail("no file could be analysed")
        raise typer.Exit(FAILED)
    thresholds = {label.name: label.threshold for label in package.labels}
    measures = measure(np.array(scores), np.array(targets), names, thresholds)
    _tell_measures(package, measures, counts, json)
    if counts["error"]:
        raise typer.Exit(FAILED)


def benchmark(
    context: typer.Context,
    model: Model,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Samples in a request; may be given again.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="How long each size is run.")] = 2.0,
    json: Json = False,
) -> None:
    """Measure throughput and latency of MODEL on this machine, one request after the other, for sizes of requests.

    A request that does not fill a batch waits as long for others to join it as the package says.
    """
    from daemon.cli.infer import package_of, runtime_of

    package = package_of(context, model)
    sizes = batch or sorted({1, *(size for size in (4, 8, 16, 32, 64) if size <= package.batch.size)})
    try:
        with runtime_of(context, package) as runtime:
            rows = [_timed(runtime, package, size, seconds) for size in sizes]
    except RuntimeFailure as error:
        fail(f"{package.name}: {error}")
        raise typer.Exit(FAILED) from None
    if json:
        print_json(rows)
        return
    say(f"{package.name} {package.version}, {rows[0]['device']}")
    print_table(rows, ("batch", "requests", "samples_per_second", "p50_ms", "p95_ms", "p99_ms"))


def _timed(runtime: Runtime, package: ModelPackage, size: int, seconds: float) -> dict[str, Any]:
    random = np.random.default_rng(0)
    inputs = {spec.name: made_up((size, *spec.sample_shape), spec.dtype, random) for spec in package.inputs}
    taken: list[float] = []
    answer = runtime.infer(package.name, inputs, timeout_seconds=600.0)  # opens the route
    end = time.monotonic() + seconds
    while not taken or time.monotonic() < end:
        began = time.perf_counter()
        answer = runtime.infer(package.name, inputs, timeout_seconds=600.0)
        taken.append(time.perf_counter() - began)
    p50, p95, p99 = (round(float(value) * 1000, 3) for value in np.percentile(taken, (50, 95, 99)))
    return {
        "batch": size,
        "device": answer.device,
        "requests": len(taken),
        "samples_per_second": round(size * len(taken) / sum(taken), 1),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
    }


def _read_table(table: Path, package: ModelPackage) -> list[tuple[str, str]]:
    """File and label of each row. A wrong table is a usage error that names the line, and no file."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as text:
            rows = _rows(csv.DictReader(text), {label.name for label in package.labels})
    except (UnicodeDecodeError, csv.Error):
        raise typer.BadParameter("is no table of comma-separated values in UTF-8", param_hint="LABELS") from None
    if not rows:
        raise typer.BadParameter("the table has no rows", param_hint="LABELS")
    return rows


def _rows(reader: "csv.DictReader[str]", known: Collection[str]) -> list[tuple[str, str]]:
    if not {"file", "label"} <= set(reader.fieldnames or ()):
        raise typer.BadParameter("the table's first line must name the columns file and label", param_hint="LABELS")
    rows = []
    for row in reader:
        if row["label"] not in known or not row["file"]:
            there_are = ", ".join(sorted(known)) or "none"
            raise typer.BadParameter(
                f"line {reader.line_num}: no file, or no label of the model; there are: {there_are}",
                param_hint="LABELS",
            )
        rows.append((row["file"], row["label"]))
    return rows


def _tell_measures(package: ModelPackage, measures: Measures, counts: Counter[str], json: bool) -> None:
    kinds = {kind: counts[kind] for kind in ("analysed", "not_analysable", "error")}
    rows = [
        {
            "label": of.label,
            "auroc": None if of.auroc != of.auroc else round(of.auroc, 4),
            "threshold": of.threshold,
            "sensitivity": _proportion(of.sensitivity),
            "specificity": _proportion(of.specificity),
        }
        for of in measures.labels
    ]
    if json:
        about = {"model": package.name, "version": package.version, "files": kinds}
        confusion = [list(row) for row in measures.confusion]
        print_json(about | {"accuracy": _proportion(measures.accuracy), "labels": rows, "confusion": confusion})
        return
    told = ", ".join(f"{number} {kind.replace('_', ' ')}" for kind, number in kinds.items())
    say(f"{package.name} {package.version}: {told}")
    say(("accuracy", "bold"), f"  {_shown(measures.accuracy)}\n")
    shown = [
        row | {"sensitivity": _shown(of.sensitivity), "specificity": _shown(of.specificity)}
        for row, of in zip(rows, measures.labels, strict=True)
    ]
    print_table(shown, ("label", "auroc", "threshold", "sensitivity", "specificity"), "Labels, with 95 % intervals")
    names = [of.label for of in measures.labels]
    table = [
        {"is": name} | dict(zip(names, row, strict=True)) for name, row in zip(names, measures.confusion, strict=True)
    ]
    print_table(table, ("is", *names), "Confusion: what it is, and what the model finds likeliest")


def _proportion(of: Proportion) -> dict[str, Any]:
    low, high = of.interval
    known = {"value": of.value, "low": low, "high": high} if of.total else {"value": None, "low": None, "high": None}
    return {"hits": of.hits, "total": of.total, **known}


def _shown(of: Proportion) -> str:
    low, high = of.interval
    return f"{of.value:.1%} ({low:.1%}-{high:.1%}, {of.hits} of {of.total})" if of.total else "–"
