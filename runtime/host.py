"""The models of one process, each with a lane for each of its routes, and the way of a request through them.

`serve` and `LocalRuntime` are two ways to reach one of these. A request takes this way:

1. it is checked against the package; 2. an identical one of the same version is answered from the cache; 3. it goes to
the first lane of its model whose rules it fulfils and that can be asked; 4. if that fails for reasons of its own
(device lost, no memory for one sample, server away, cannot be opened) the next lane gets it, within its deadline;
5. if there is none, `NoRoute` says why of each. A failure of the input's is never tried elsewhere.

A lane that failed is tried again later, without making a request wait for it that another can answer. A lost device
ends only the lanes on it; `lost` then asks for a new process, and the other lanes answer until it is there.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import structlog

from runtime.backend import RemoteAccess
from runtime.batcher import LaneFailed
from runtime.cache import AnswerCache, key_of
from runtime.errors import (
    DeadlineExceeded,
    ModelNotFound,
    NoRoute,
    Overloaded,
    PackageError,
    RouteUnavailable,
    RuntimeFailure,
)
from runtime.health import LaneState, ModelHealth, RuntimeUsage
from runtime.inference import Array, Device, InferenceResult
from runtime.lanes import DEVICES, Lane, Surroundings
from runtime.memory import MemoryBudget, default_limits
from runtime.package import DESCRIPTION, ModelDescription, ModelPackage, Place, Route
from runtime.tensors import check_finite_inputs, count_samples, forms
from runtime.watch import DriftReport, Watch, guarded

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HostSettings:
    """How a host works. `threads` share one run on the CPU."""

    threads: int
    device: Device = Device.AUTO  # only routes that lead there; `AUTO`: all of them
    lazy: bool = False  # load a model when it is first asked, not at once
    memory_bytes: Mapping[Device, int] = field(default_factory=dict)  # beside `runtime.memory.default_limits`
    cache_bytes: int = 0
    routes: Mapping[str, Sequence[Route]] = field(default_factory=dict)  # by model, in the place of its package's
    access: Mapping[str, RemoteAccess] = field(default_factory=dict)  # by the server's authority; others get no token
    logs: bool = False  # what becomes of lanes, as a process that serves others should; else its errors tell


@dataclass(frozen=True, slots=True)
class _Model:
    package: ModelPackage
    watch: Watch | None  # None for a package that brings nothing to watch by
    lanes: tuple[Lane, ...]


class ModelHost:
    """Loads packages and runs requests for them. Safe to use from several threads."""

    def __init__(self, packages: Sequence[ModelPackage], settings: HostSettings) -> None:
        """Add all packages; the first of each name is its default version.

        Raises as `add` does.
        """
        self._settings = settings
        self._cache = AnswerCache(settings.cache_bytes)
        budget = MemoryBudget({**default_limits(), **settings.memory_bytes})
        self._surroundings = Surroundings(settings.threads, settings.access, budget, settings.logs)
        self._lock = threading.Lock()
        self._models: dict[str, dict[str, _Model]] = {}  # by name and version; the default version comes first
        try:
            for package in packages:
                self.add(package, alone=not settings.logs)
        except BaseException:
            self.close(0)
            raise

    @property
    def lost(self) -> bool:
        """Whether a device is gone, so that only a new process can use it again."""
        return any(lane.lost for model in self._all() for lane in model.lanes)

    def hanging(self, seconds: float) -> tuple[str, ...]:
        """The lanes on this machine's devices whose present run has taken longer: it may never return, and no thread
        can be ended from without. (Runs on servers end by their time-outs.)
        """
        return tuple(
            f"{model.package.name} {model.package.version}: {lane.name}"
            for model in self._all()
            for lane in model.lanes
            if lane.running_seconds > seconds and lane.device is not Device.REMOTE
        )

    def add(self, package: ModelPackage, *, default: bool = False, alone: bool = True) -> None:
        """Add a version of a model, which becomes its default if it is the first, or `default`.

        Unless the host is lazy, its first route that can be gone is opened. A package that is there is not added again.

        Raises `PackageError` for another package of the same name and version, one that is not what it declares, or
        that fails on zeros or its own check; `RouteUnavailable` if this machine can go none of its routes. Unless it
        comes `alone`, that keeps no others from being served, nor does a server that has another model now: it is
        logged, and whoever asks hears `NoRoute`.
        """
        found = self._models.get(package.name, {}).get(package.version)
        if found is not None and found.package.description != package.description:
            problem = f"another package is called {package.name!r} {package.version} too"
            raise PackageError(package.directory / DESCRIPTION, "name", problem)
        model = found or _Model(package, Watch.of(package), tuple(self._lanes(package)))
        if found is None and not self._settings.lazy:
            try:
                _open_first(model, needed=alone)
            except BaseException:
                for lane in model.lanes:
                    lane.close(0)
                raise
        with self._lock:
            versions = {**self._models.get(package.name, {}), package.version: model}
            if default:
                versions = {package.version: model, **versions}
            self._models = {**self._models, package.name: versions}

    def package(self, model: str, version: str | None = None) -> ModelPackage:
        """The package of that name and version, by default the default one. Raises `ModelNotFound`."""
        return self._find(model, version).package

    def descriptions(self) -> tuple[ModelDescription, ...]:
        """All packages' descriptions, by name; a model's default version comes first."""
        return tuple(model.package.description for model in self._all())

    def health(self) -> tuple[ModelHealth, ...]:
        """How the models are doing, in the same order."""
        return tuple(
            _health(model, default=position == 0)
            for _, versions in sorted(self._models.items())
            for position, model in enumerate(versions.values())
        )

    def drift(self) -> tuple[DriftReport, ...]:
        """How far what the models see and say has moved, for those whose packages can tell, in the same order."""
        return tuple(model.watch.report() for model in self._all() if model.watch)

    def usage(self) -> RuntimeUsage:
        """What the models use together."""
        return RuntimeUsage(self._surroundings.budget.use(), self._cache.use())

    def submit(
        self,
        model: str,
        inputs: dict[str, Array],
        *,
        version: str | None = None,
        priority: int,
        timeout_seconds: float,
    ) -> Future[InferenceResult]:
        """Check a request and send it on its way. Cancel the future to withdraw it; its callbacks must not block.

        `inputs` is the host's from now on, which empties it when nobody waits for it any more: so they are let go at
        once, wherever they lie.

        Raises what `Runtime.infer` does, as the future does.
        """
        found = self._find(model, version)
        samples = count_samples(found.package, forms(inputs))
        if self._cache.enabled:
            # What runs must be what is named: a client could change what lies in its memory in between, and the answer
            # is for all who ask the same.
            inputs.update({name: array.copy() for name, array in inputs.items()})
        check_finite_inputs(inputs)
        if not timeout_seconds > 0:
            raise DeadlineExceeded("no time was left when the request came")
        deadline = time.monotonic() + timeout_seconds
        ask = partial(_ask, found, inputs, samples, priority, deadline)
        if not self._cache.enabled:
            return ask()
        return self._cache.answer(key_of(found.package, inputs), ask, priority=priority)

    def close(self, drain_seconds: float) -> None:
        """Finish what was accepted, within `drain_seconds`, and fail the rest with `RuntimeUnavailable`."""
        end = time.monotonic() + drain_seconds
        for model in self._all():
            for lane in model.lanes:
                lane.close(max(0.0, end - time.monotonic()))

    def _lanes(self, package: ModelPackage) -> Iterator[Lane]:
        routes = self._settings.routes.get(package.name)
        if routes is not None:
            try:
                package.check_routes(routes)
            except ValueError as error:
                raise PackageError(package.directory / DESCRIPTION, "", f"cannot go the site's {error}") from None
        for route in routes or package.chosen_routes:
            if self._settings.device in (Device.AUTO, DEVICES[route.on]):
                yield Lane(package, route, self._surroundings)

    def _all(self) -> Iterator[_Model]:
        for _, versions in sorted(self._models.items()):
            yield from versions.values()

    def _find(self, name: str, version: str | None) -> _Model:
        versions = self._models.get(name)
        if versions is None:
            there = ", ".join(sorted(self._models)) or "none"
            raise ModelNotFound(f"no model {name!r} is loaded; loaded: {there}")
        if version is None:
            return next(iter(versions.values()))
        if version not in versions:
            raise ModelNotFound(f"no version {version!r} of the model {name} is loaded; loaded: {', '.join(versions)}")
        return versions[version]


def _open_first(model: _Model, *, needed: bool) -> None:
    """Open the first lane that can be opened. A server that is away or memory that is short passes, so it is no error;
    a wrong package is. Where it is `needed`, so are a machine that has nothing to run it, and a server that has another
    model now: that no package here can help.
    """
    obstacles: list[RuntimeFailure] = []
    for lane in model.lanes:
        try:
            lane.open().result()
        except LaneFailed as failed:
            passes = isinstance(failed.cause, RouteUnavailable) or failed.cause.retryable
            if not passes and (needed or lane.route.on is not Place.REMOTE):
                raise failed.cause from None
            obstacles.append(failed.cause)
        else:
            return
    if not model.lanes:
        obstacles = [RouteUnavailable(f"{model.package.name}: no route of its package leads to the demanded device")]
    if all(isinstance(obstacle, RouteUnavailable) for obstacle in obstacles):
        if needed:
            raise obstacles[-1]
        reasons = [str(obstacle) for obstacle in obstacles]
        _log.error("model_has_no_route", model=model.package.name, version=model.package.version, reasons=reasons)


class _Journey:
    """One request on its way along the lanes of its model."""

    def __init__(self, model: _Model, inputs: dict[str, Array], samples: int, priority: int, deadline: float) -> None:
        self._model = model
        self._inputs = inputs
        self._samples = samples
        self._priority = priority
        self._deadline = deadline
        self._tried: dict[Lane, str] = {}  # lane, and why not
        self._full: Overloaded | None = None
        self._present: Future[InferenceResult] | None = None
        self.arrival: Future[InferenceResult] = Future()

    def begin(self) -> Future[InferenceResult]:
        """Ask the first lane. Raises what `go_on` does."""
        self.go_on()
        self.arrival.add_done_callback(self._withdrawn)
        return self.arrival

    def go_on(self) -> None:
        """Ask the next lane. Raises `NoRoute`, `Overloaded` if there is one but full, `DeadlineExceeded`,
        `RuntimeUnavailable`.
        """
        if self._deadline <= time.monotonic():
            raise DeadlineExceeded("the time was over before a route could answer; try again later")
        while True:
            lane = self._next()
            try:
                present = lane.submit(self._inputs, self._samples, priority=self._priority, deadline=self._deadline)
            except LaneFailed as failed:
                self._tried[lane] = str(failed.cause)
            except Overloaded as error:
                self._full = error
                self._tried[lane] = "its queue is full"
            else:
                break
        self._present = present
        present.add_done_callback(partial(self._arrived, lane))
        if self.arrival.cancelled():  # before it could hear of this lane
            present.cancel()

    def _next(self) -> Lane:
        """The first lane that fits and can be asked; one that is just being opened again only if there is no other."""
        obstacles: list[str] = []
        recovering: Lane | None = None
        before: Lane | None = None
        passable = False  # whether the lane before this one could have been asked
        for lane in self._model.lanes:
            obstacle = self._tried.get(lane) or lane.obstacle()
            misfit = self._misfit(lane.route, before if passable else None)
            before, passable = lane, not obstacle
            if obstacle or misfit:
                obstacles.append(f"{lane.name}: {obstacle or misfit}")
            elif not lane.recovers():
                return lane
            else:
                recovering = recovering or lane
        if recovering is not None:
            return recovering
        if self._full is not None:
            raise self._full
        package = self._model.package
        raise NoRoute(f"{package.name} {package.version}: no route can answer at present: {'; '.join(obstacles)}")

    def _misfit(self, route: Route, before: Lane | None) -> str:
        """Which rule of the route the request does not fulfil; empty if it fulfils all. `before` is the lane before
        it if that can be asked: for one that cannot, any number of samples waits.
        """
        if route.min_samples is not None and self._samples < route.min_samples:
            return f"takes {route.min_samples} samples or more"
        if route.max_samples is not None and self._samples > route.max_samples:
            return f"takes {route.max_samples} samples at most"
        if route.priority_at_most is not None and self._priority > route.priority_at_most:
            return f"takes priority {route.priority_at_most} at most"
        if route.waiting_at_least is not None and before is not None and before.waiting < route.waiting_at_least:
            return f"waits until {route.waiting_at_least} samples wait for the route before it"
        return ""

    def _arrived(self, lane: Lane, done: Future[InferenceResult]) -> None:
        """In the thread of the lane: the answer, or the next lane."""
        if done.cancelled():
            self._inputs.clear()
            return
        error = done.exception()
        if isinstance(error, LaneFailed):
            self._tried[lane] = str(error.cause)
            try:
                self.go_on()
            except RuntimeFailure as failure:
                error = failure
            else:
                return
        if not self.arrival.set_running_or_notify_cancel():
            self._inputs.clear()
            return
        if error is not None:
            self.arrival.set_exception(error)
        else:
            self.arrival.set_result(done.result())

    def _withdrawn(self, arrival: Future[InferenceResult]) -> None:
        if arrival.cancelled() and self._present is not None:
            self._present.cancel()


def _ask(
    model: _Model, inputs: dict[str, Array], samples: int, priority: int, deadline: float
) -> Future[InferenceResult]:
    journey = _Journey(model, inputs, samples, priority, deadline)
    return guarded(model.watch, inputs, journey.begin) if model.watch else journey.begin()


def _health(model: _Model, *, default: bool) -> ModelHealth:
    lanes = tuple(lane.health() for lane in model.lanes)
    ready = (lane.device for lane in lanes if lane.state is LaneState.READY)
    return ModelHealth(
        model.package.name,
        model.package.version,
        next(ready, Device.AUTO),
        sum(lane.waiting_samples for lane in lanes),
        max((lane.running_seconds for lane in lanes), default=0.0),
        default,
        lanes,
    )
