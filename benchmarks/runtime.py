"""What the runtime process costs beside a bare loop over the same ONNX session. Run: python -m benchmarks.runtime

Bare loop and runtime take turns, so that a busy machine disturbs both; the figures are medians over the rounds.

- same batch: whole batches of the package's size, two requests in flight, against `session.run` in a loop;
- clients at once: many threads with one sample each, which the runtime has to join to batches, against the same loop;
- single request: one client, one sample, nobody else; what it takes longer than `session.run` on that sample.
"""

import argparse
import multiprocessing
import multiprocessing.synchronize
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table

import pipelines
from runtime import ModelPackage, RuntimeClient, serve
from runtime.backends.onnx import session_options

BUNDLED = Path(pipelines.__file__).parent / "packages" / "chest-xray-3class"
SAME_BATCH_TARGET, AT_ONCE_TARGET, ADDED_TARGET_MS = 0.95, 0.90, 1.0
BLOCKS, WARM_UP = 4, 3
Inputs = dict[str, np.ndarray[Any, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, default=BUNDLED, help="the model package; by default the bundled one")
    parser.add_argument("--clients", type=int, default=64, help="threads for 'clients at once'")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement in a round")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="for one run")
    options = parser.parse_args()
    package = ModelPackage.load(options.package)
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "socket"
        context = multiprocessing.get_context("spawn")
        ready, stop = context.Event(), context.Event()
        process = context.Process(target=_serve, args=(socket, options.package, options.threads, ready, stop))
        process.start()
        if not ready.wait(60):
            raise SystemExit("the runtime process did not start")
        try:
            with RuntimeClient(socket) as client:
                _measure(package, client, options)
        finally:
            stop.set()
            process.join(30)


def _serve(
    socket: Path,
    package: Path,
    threads: int,
    ready: multiprocessing.synchronize.Event,
    stop: multiprocessing.synchronize.Event,
) -> None:
    stopped = threading.Event()
    threading.Thread(target=lambda: (stop.wait(), stopped.set()), daemon=True).start()
    serve(socket, [package], on_ready=ready.set, stop=stopped, threads=threads)


def _measure(package: ModelPackage, client: RuntimeClient, options: argparse.Namespace) -> None:
    session = onnxruntime.InferenceSession(
        package.read_weights(), session_options(options.threads), providers=["CPUExecutionProvider"]
    )
    outputs = [spec.name for spec in package.outputs]
    batch, single = _inputs(package, package.batch.size), _inputs(package, 1)
    sizes: list[int] = []

    def bare(inputs: Inputs) -> None:
        session.run(outputs, inputs)

    def ask(inputs: Inputs) -> None:
        answer = client.infer(package.name, inputs, timeout_seconds=60)
        sizes.append(answer.batch_size)

    rates: dict[str, list[float]] = {"bare": [], "same": [], "once": []}
    bare_ms: list[float] = []
    asked_ms: list[float] = []
    joined: list[float] = []
    for _ in range(options.rounds):
        rates["bare"].append(_rate(lambda: bare(batch), 1, options.seconds) * package.batch.size)
        rates["same"].append(_rate(lambda: ask(batch), 2, options.seconds) * package.batch.size)
        sizes.clear()
        rates["once"].append(_rate(lambda: ask(single), options.clients, options.seconds))
        joined.append(statistics.fmean(sizes))
        for _ in range(BLOCKS):
            bare_ms += _milliseconds(lambda: bare(single), options.seconds / BLOCKS)
            asked_ms += _milliseconds(lambda: ask(single), options.seconds / BLOCKS)
    _print(package, options, rates, (bare_ms, asked_ms), statistics.median(joined))


def _inputs(package: ModelPackage, samples: int) -> Inputs:
    random = np.random.default_rng(0)
    return {spec.name: random.random((samples, *spec.sample_shape)).astype(spec.dtype.value) for spec in package.inputs}


def _rate(call: Callable[[], None], threads: int, seconds: float) -> float:
    """Calls a second of `threads` threads that call as fast as they can."""
    counts = [0] * threads
    barrier = threading.Barrier(threads + 1)
    stopping = threading.Event()

    def work(number: int) -> None:
        barrier.wait()
        while not stopping.is_set():
            call()
            counts[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    barrier.wait()
    started = time.monotonic()
    stopping.wait(seconds)
    stopping.set()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.monotonic() - started)


def _milliseconds(call: Callable[[], None], seconds: float) -> list[float]:
    """How long each call takes, one after the other; the first ones, which find cold caches, are left out."""
    durations = []
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        call()
        durations.append((time.perf_counter() - started) * 1e3)
    return durations[WARM_UP:]


def _print(
    package: ModelPackage,
    options: argparse.Namespace,
    rates: dict[str, list[float]],
    latencies: tuple[list[float], list[float]],
    joined: float,
) -> None:
    loop, same, once = (statistics.median(rates[name]) for name in ("bare", "same", "once"))
    bare, asked = ([float(np.percentile(values, q)) for q in (50, 95, 99)] for values in latencies)
    added = asked[0] - bare[0]
    size = package.batch.size
    table = Table(
        title=f"{package.name} {package.version}, {options.threads} threads, median of {options.rounds} rounds"
    )
    for column in ("", "bare session", "runtime process", "", "target"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row(f"batches of {size}", f"{loop:.1f}/s", f"{same:.1f}/s", *_ratio(same / loop, SAME_BATCH_TARGET))
    name = f"{options.clients} clients at once (batches of {joined:.1f})"
    table.add_row(name, f"{loop:.1f}/s", f"{once:.1f}/s", *_ratio(once / loop, AT_ONCE_TARGET))
    sign = "✓" if added <= ADDED_TARGET_MS else "✗"
    added_target = (f"{added:+.2f} ms", f"≤ {ADDED_TARGET_MS:g} ms {sign}")
    table.add_row("single request, p50", f"{bare[0]:.2f} ms", f"{asked[0]:.2f} ms", *added_target)
    for place, q in ((1, 95), (2, 99)):
        difference = f"{asked[place] - bare[place]:+.2f} ms"
        table.add_row(f"single request, p{q}", f"{bare[place]:.2f} ms", f"{asked[place]:.2f} ms", difference, "")
    Console(width=120).print(table)


def _ratio(ratio: float, target: float) -> tuple[str, str]:
    return f"{ratio:.1%}", f"≥ {target:.0%} {'✓' if ratio >= target else '✗'}"


if __name__ == "__main__":
    main()
