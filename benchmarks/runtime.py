"""What the runtime process costs beside a bare loop over the same ONNX session. Run: python -m benchmarks.runtime

The loop is the better of two: a session whose runs share all threads, and one whose runs take one thread. Loops and
runtime take turns, so that a busy machine disturbs all; the figures are medians over the rounds. No
answer is kept (the cache is off), and the package is served without its gate, whose cost is a row of its own. Each call
of either takes the next of several inputs, as no two images are the same: one input again and again would lie in the
processor's cache for the loop, and never for the runtime, which gets each anew.

- same batch: whole batches of the package's size, two requests in flight, against `session.run` in a loop;
- clients at once: many threads with one sample each, which the runtime has to join to batches, against the same loop;
- single request: one client, one sample, nobody else, in blocks of calls; what it takes longer than `session.run`;
- on a GPU, if there is one: `--gpu-package`, else the package as it is and, where PyTorch can use the GPU, the bundled
  one as a PyTorch program; with batches of 64, asked by several processes: images a second in whole batches, then 1,000
  requests of one sample at once, and how busy the GPU is meanwhile.
"""

import argparse
import contextlib
import importlib.util
import itertools
import multiprocessing
import multiprocessing.synchronize
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table

import pipelines
from runtime import Device, ModelPackage, RuntimeClient, serve, write_package
from runtime.backends.onnx import session_options
from runtime.lanes import queue_limit
from runtime.tensors import made_up

BUNDLED = Path(pipelines.__file__).parent / "packages" / "chest-xray-3class"
SAME_BATCH_TARGET, AT_ONCE_TARGET, ADDED_TARGET_MS = 0.95, 0.90, 1.0
GPU_TARGET, GPU_P99_TARGET_MS, GPU_BATCH, GPU_REQUESTS = 10_000, 200.0, 64, 1000
GPU_DEVICE = Path("/dev/nvidiactl")
WARM_UP, BLOCK = 5, 45
INPUTS = 16
Inputs = dict[str, np.ndarray[Any, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, default=BUNDLED, help="the model package; by default the bundled one")
    parser.add_argument("--clients", type=int, default=64, help="threads for 'clients at once'")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement in a round")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="for one run")
    parser.add_argument("--gpu-package", type=Path, help="the one package for the GPU")
    parser.add_argument("--only-gpu", action="store_true", help="leave the comparison on the CPU out")
    parser.add_argument("--gpu-clients", type=int, default=max(2, len(os.sched_getaffinity(0)) - 2), help="processes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not options.only_gpu:
            _against_the_loop(Path(folder), options)
        if not GPU_DEVICE.exists():
            Console(width=120).print("There is no NVIDIA GPU here: its part is left out.")
            return
        for number, package in enumerate(_gpu_packages(Path(folder), options)):
            _on_the_gpu(Path(folder) / f"gpu-socket-{number}", package, options, Device.CUDA)


def _against_the_loop(folder: Path, options: argparse.Namespace) -> None:
    guarded = ModelPackage.load(options.package)
    plain = _plain(guarded, folder / "plain")
    with _served(folder / "socket", [options.package, plain.directory], options.threads, Device.CPU) as client:
        _measure(plain, guarded, client, options)


@contextlib.contextmanager
def _served(socket: Path, packages: list[Path], threads: int, device: Device) -> Iterator[RuntimeClient]:
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    process = context.Process(target=_serve, args=(socket, packages, threads, device, ready, stop))
    process.start()
    while not ready.wait(1):
        if not process.is_alive():
            raise SystemExit("the runtime process did not start; it says above why")
    try:
        with RuntimeClient(socket) as client:
            yield client
    finally:
        stop.set()
        process.join(30)


def _serve(
    socket: Path,
    packages: list[Path],
    threads: int,
    device: Device,
    ready: multiprocessing.synchronize.Event,
    stop: multiprocessing.synchronize.Event,
) -> None:
    stopped = threading.Event()
    _allow_many_files()

    def hear() -> None:
        stop.wait()
        stopped.set()

    threading.Thread(target=hear, daemon=True).start()
    serve(socket, packages, on_ready=ready.set, stop=stopped, threads=threads, device=device)


def _plain(package: ModelPackage, folder: Path, batch: int | None = None) -> ModelPackage:
    """The same model under another name and without gate and reference, perhaps with larger batches."""
    folder.mkdir()
    weights = package.weights or ""
    shutil.copy(package.directory / weights, folder)
    left_out = {"files", "gate", "reference", "check", "variants", "routes", "remote"}
    description = package.description.model_dump(mode="json", exclude=left_out, exclude_none=True)
    if batch:
        description["batch"] = {"size": batch, "wait_ms": 5.0}
    return write_package(folder, {**description, "name": f"{package.name}.plain"})


def _measure(package: ModelPackage, guarded: ModelPackage, client: RuntimeClient, options: argparse.Namespace) -> None:
    weights, threads = package.read_weights(), sorted({1, options.threads})
    sessions = [
        onnxruntime.InferenceSession(weights, session_options(each), providers=["CPUExecutionProvider"])
        for each in threads
    ]
    outputs = [spec.name for spec in package.outputs]
    batches = itertools.cycle([_inputs(package, package.batch.size, seed) for seed in range(INPUTS)])
    singles = itertools.cycle([_inputs(package, 1, seed) for seed in range(INPUTS)])
    sizes: list[int] = []

    def bare(session: onnxruntime.InferenceSession, inputs: Iterator[Inputs]) -> None:
        session.run(outputs, next(inputs))

    def ask(inputs: Iterator[Inputs], model: str = package.name) -> None:
        sizes.append(client.infer(model, next(inputs), timeout_seconds=60).batch_size)

    rates: dict[str, list[float]] = {"same": [], "once": []}
    loops: list[list[float]] = [[] for _ in sessions]
    calls = [
        *(partial(bare, session, singles) for session in sessions),
        partial(ask, singles),
        partial(ask, singles, guarded.name),
    ]
    latencies: list[list[float]] = [[] for _ in calls]
    joined: list[float] = []
    for _ in range(options.rounds):
        for session, found in zip(sessions, loops, strict=True):
            found.append(_rate(partial(bare, session, batches), 1, options.seconds) * package.batch.size)
        rates["same"].append(_rate(lambda: ask(batches), 2, options.seconds) * package.batch.size)
        sizes.clear()
        rates["once"].append(_rate(lambda: ask(singles), options.clients, options.seconds))
        joined.append(statistics.fmean(sizes))
        _take_turns(calls, latencies, options.seconds)
    rates["bare"] = max(loops, key=statistics.median)
    *alone, asked, watched = latencies
    _print(package, options, rates, [min(alone, key=statistics.median), asked, watched], statistics.median(joined))


def _inputs(package: ModelPackage, samples: int, seed: int = 0) -> Inputs:
    random = np.random.default_rng(seed)
    return {spec.name: made_up((samples, *spec.sample_shape), spec.dtype, random) for spec in package.inputs}


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


def _take_turns(calls: list[Callable[[], None]], durations: list[list[float]], seconds: float) -> None:
    """Add how many milliseconds each call takes, a block of one after a block of the other; the first of each block,
    with the caches of the one before, are left out.
    """
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for call, found in zip(calls, durations, strict=True):
            for number in range(BLOCK):
                started = time.perf_counter()
                call()
                if number >= WARM_UP:
                    found.append((time.perf_counter() - started) * 1e3)


def _print(
    package: ModelPackage,
    options: argparse.Namespace,
    rates: dict[str, list[float]],
    latencies: list[list[float]],
    joined: float,
) -> None:
    loop, same, once = (statistics.median(rates[name]) for name in ("bare", "same", "once"))
    bare, asked, guarded = ([float(np.percentile(values, q)) for q in (50, 95, 99)] for values in latencies)
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
    table.add_row("… of the runtime's own batches", f"{same:.1f}/s", f"{once:.1f}/s", f"{once / same:.1%}", "")
    sign = "✓" if added <= ADDED_TARGET_MS else "✗"
    added_target = (f"{added:+.2f} ms", f"≤ {ADDED_TARGET_MS:g} ms {sign}")
    table.add_row("single request, p50", f"{bare[0]:.2f} ms", f"{asked[0]:.2f} ms", *added_target)
    for place, q in ((1, 95), (2, 99)):
        difference = f"{asked[place] - bare[place]:+.2f} ms"
        table.add_row(f"single request, p{q}", f"{bare[place]:.2f} ms", f"{asked[place]:.2f} ms", difference, "")
    difference = f"{guarded[0] - bare[0]:+.2f} ms"
    table.add_row("… with gate and drift, p50", f"{bare[0]:.2f} ms", f"{guarded[0]:.2f} ms", difference, "")
    Console(width=120).print(table)


def _ratio(ratio: float, target: float) -> tuple[str, str]:
    return f"{ratio:.1%}", f"≥ {target:.0%} {'✓' if ratio >= target else '✗'}"


def _gpu_packages(folder: Path, options: argparse.Namespace) -> Iterator[ModelPackage]:
    original = ModelPackage.load(options.gpu_package or options.package)
    yield _plain(original, folder / "gpu", GPU_BATCH)
    if options.gpu_package or options.package != BUNDLED or importlib.util.find_spec("torch") is None:
        return
    import torch

    if torch.cuda.is_available():
        from benchmarks.chest_program import write_chest_program

        yield write_chest_program(original, folder / "gpu-pytorch", GPU_BATCH)


def _on_the_gpu(socket: Path, package: ModelPackage, options: argparse.Namespace, device: Device) -> None:
    clients: int = options.gpu_clients
    seconds = options.rounds * options.seconds
    # No more than the queue takes, or requests are refused.
    waiting = max(1, min(4, queue_limit(package) // GPU_BATCH // clients))
    try:
        with (
            _served(socket, [package.directory], options.threads, device),
            multiprocessing.get_context("spawn").Pool(clients) as processes,
        ):

            def together(threads: int, samples: int) -> "_Load":
                work = (socket, package.directory, threads, samples, seconds)
                return _Load.of(processes.starmap(_load, [work] * clients, chunksize=1))

            together(1, GPU_BATCH)
            with _utilisation() as busy:
                whole = together(waiting, GPU_BATCH)
            singles = together(-(-GPU_REQUESTS // clients), 1)
    except SystemExit as error:
        Console(width=120).print(f"{package.name}: {error}")
        return
    _print_gpu(package, clients, whole, singles, busy)


def _print_gpu(package: ModelPackage, clients: int, whole: "_Load", singles: "_Load", busy: list[float]) -> None:
    rate = whole.per_second * GPU_BATCH
    table = Table(title=f"{package.name} {package.version} on {_gpu_name()}, {clients} clients")
    for column in ("", "runtime process", "target"):
        table.add_column(column, justify="left" if not column else "right")
    reached = "✓" if rate >= GPU_TARGET else "✗"
    table.add_row(f"batches of {GPU_BATCH}", f"{rate:,.0f} images/s", f"≥ {GPU_TARGET:,} {reached}")
    table.add_row("… in the backend, of each", f"{whole.run_milliseconds:.1f} ms", "")
    table.add_row("GPU busy meanwhile", f"{statistics.median(busy):.0f} %" if busy else "unknown", "")
    name = f"{GPU_REQUESTS:,} requests at once"
    table.add_row(name, f"{singles.per_second:,.0f} images/s", "")
    for q in (50, 95, 99):
        value = float(np.percentile(singles.milliseconds, q))
        target = f"≤ {GPU_P99_TARGET_MS:g} ms {'✓' if value <= GPU_P99_TARGET_MS else '✗'}" if q == 99 else ""
        table.add_row(f"{name}, p{q}", f"{value:.1f} ms", target)
    table.add_row("… in batches of", f"{singles.batch:.1f}", "")
    table.add_row("… in the backend, of each batch", f"{singles.run_milliseconds:.1f} ms", "")
    Console(width=120).print(table)


@dataclass(frozen=True)
class _Load:
    """What clients saw while all of them asked."""

    per_second: float
    milliseconds: list[float]
    run_milliseconds: float
    batch: float

    @classmethod
    def of(cls, clients: list[list[tuple[float, float, float, int]]]) -> "_Load":
        """From each client's requests: start and end on the monotonic clock, seconds in the backend, batch."""
        first = max(min(start for start, *_ in one) for one in clients)
        last = min(max(end for _, end, *_ in one) for one in clients)
        seen = [each for one in clients for each in one if first <= each[1] <= last]
        return cls(
            per_second=len(seen) / (last - first),
            milliseconds=[(end - start) * 1e3 for start, end, *_ in seen],
            run_milliseconds=statistics.median(run for _, _, run, _ in seen) * 1e3,
            batch=statistics.fmean(batch for *_, batch in seen),
        )


def _load(
    socket: Path, directory: Path, threads: int, samples: int, seconds: float
) -> list[tuple[float, float, float, int]]:
    """In a process of its own: the requests of threads that ask as fast as they can."""
    package = ModelPackage.load(directory)
    inputs = _inputs(package, samples)
    seen: list[tuple[float, float, float, int]] = []
    _allow_many_files()
    with RuntimeClient(socket) as client:

        def ask() -> None:
            started = time.monotonic()
            answer = client.infer(package.name, inputs, timeout_seconds=60)
            seen.append((started, time.monotonic(), answer.run_seconds, answer.batch_size))

        _rate(ask, threads, seconds)
    return seen


def _allow_many_files() -> None:
    """As many as the system lets this process have: a thousand clients are a thousand connections."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def _utilisation() -> Iterator[list[float]]:
    """The GPU's load in percent, as the driver tells it each half second."""
    found: list[float] = []
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=500"]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        yield found
        return
    assert process.stdout is not None
    try:
        yield found
    finally:
        process.terminate()
        found += [float(line) for line in process.stdout if line.strip().isdigit()]


def _gpu_name() -> str:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return "an unnamed GPU"


if __name__ == "__main__":
    main()
