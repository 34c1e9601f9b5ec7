"""Runs ONNX models with ONNX Runtime: on the CPU, on CUDA, or with TensorRT.

The bytes that run are the bytes whose digest was checked; a graph whose inputs and outputs differ from the package's is
refused when it is loaded. A provider is used only where it works: no session ends up elsewhere than its route says.
"""

import contextlib
import ctypes
import functools
import importlib.util
import io
import os
import re
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from runtime.backends.batches import filled, fitting, run_sizes
from runtime.backends.recording import working
from runtime.errors import BackendFailure, BackendLost, OutOfMemory, PackageError, RouteUnavailable
from runtime.inference import Array, Device
from runtime.memory import gpu_is_lost
from runtime.package import DType, ModelPackage, Place, TensorSpec, Variant

_GPU_DEVICES: Final = Path("/dev/nvidiactl")
_ERRORS_ONLY: Final = 3
_NOTHING: Final = 4  # what fails is raised, and said by this module
_PROVIDERS: Final = {
    Place.CPU: "CPUExecutionProvider",
    Place.CUDA: "CUDAExecutionProvider",
    Place.TENSORRT: "TensorrtExecutionProvider",
}
_ELEMENT_TYPES: Final = {
    DType.FLOAT16: "tensor(float16)",
    DType.FLOAT32: "tensor(float)",
    DType.FLOAT64: "tensor(double)",
    DType.INT8: "tensor(int8)",
    DType.UINT8: "tensor(uint8)",
    DType.UINT16: "tensor(uint16)",
    DType.INT32: "tensor(int32)",
    DType.INT64: "tensor(int64)",
}
_OUT_OF_MEMORY: Final = re.compile(
    r"out of memory|failed to allocate|bad_?alloc|ALLOC_FAILED|smaller than requested", re.IGNORECASE
)
_NO_FOLDER: Final = "/dev/null/no"  # can never be one
_CUDNN: Final = "libcudnn.so.9"
_DEVICE_FAULT: Final = re.compile(r"\b(cuda|cudnn|cublas|tensorrt)", re.IGNORECASE)

onnxruntime.set_default_logger_severity(_NOTHING)


class OnnxBackend:
    """One ONNX Runtime session."""

    def __init__(self, package: ModelPackage, form: Variant, place: Place, *, threads: int) -> None:
        """Load the file of `form`; `threads` share a run on the CPU, or each takes a sample, as the package says."""
        self._package = package
        self.device = Device.CPU if place is Place.CPU else Device.CUDA
        self.precision = form.precision
        self.tolerance = form.tolerance
        weights = package.read(form.file)
        self._weights_bytes = len(weights)
        on_device = self.device is Device.CUDA
        self._session = _open_session(package, form, place, weights, package.batch.sample_threads or threads)
        self._outputs = [spec.name for spec in package.outputs]
        fixed = _check_graph(package, form, self._session)
        if fixed > 1 and package.batch.sample_threads:
            problem = f"{form.file} takes {fixed} samples at once, which cannot run one by one"
            raise PackageError(package.directory, "batch.sample_threads", problem)
        self._beside = SideBySide(threads) if package.batch.sample_threads and not on_device else None
        self._sizes = (fixed,) if fixed else run_sizes(package.batch.size) if on_device else ()
        self._bound: dict[int, BoundTensors] = {}

    @property
    def memory_bytes(self) -> int:
        """The weights and the bound tensors; what ONNX Runtime takes for the layers between it does not tell."""
        return self._weights_bytes + sum(bound.memory_bytes for bound in self._bound.values())

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Run the session. The library's own message is left out: it can quote values."""
        samples = len(next(iter(inputs.values())))
        size = fitting(self._sizes, samples) if self._sizes else samples
        try:
            if self.device is Device.CUDA:
                with working():
                    values = self._bound_for(size).run(inputs)
            elif self._beside and samples > 1:
                values = self._beside.run(self._session, self._outputs, inputs, samples)
            else:
                values = self._session.run(self._outputs, {name: filled(part, size) for name, part in inputs.items()})
        except Exception as error:  # noqa: BLE001  # its errors share no base class
            raise self._failure(error, samples) from None
        return {name: value[:samples] for name, value in zip(self._outputs, values, strict=True)}

    def close(self) -> None:
        """Unload the model."""
        with working() if self.device is Device.CUDA else contextlib.nullcontext():
            self._bound.clear()
            self._session = None
        if self._beside:
            self._beside.close()

    def _bound_for(self, size: int) -> "BoundTensors":
        bound = self._bound.get(size)
        if bound is None:
            bound = self._bound[size] = BoundTensors(self._session, self._package, size, self.device.value)
        return bound

    def _failure(self, error: Exception, samples: int) -> BackendFailure:
        reason = f"{self._package.name}: ONNX Runtime failed on {self.device} ({type(error).__name__})"
        message = str(error)
        if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(message):
            with working() if self.device is Device.CUDA else contextlib.nullcontext():
                self._bound.clear()
            return OutOfMemory(f"{reason}: not enough memory for {samples} samples")
        if self.device is Device.CUDA and _DEVICE_FAULT.search(message):
            with working():
                if gpu_is_lost():
                    return BackendLost(reason)
        return BackendFailure(reason)


class SideBySide:
    """Runs the samples of a batch one by one, several at once: each in the cache of the core that it runs on."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="sample")

    def run(self, session: Any, outputs: list[str], inputs: dict[str, Array], samples: int) -> list[Array]:
        """Run all samples and join their outputs. Raises what the session raises, once nothing runs any more."""
        numbers = iter(range(samples))  # each is taken by one of the threads
        answers: list[list[Array]] = [[]] * samples

        def work() -> None:
            try:
                for number in numbers:
                    one = {name: np.ascontiguousarray(part[number : number + 1]) for name, part in inputs.items()}
                    answers[number] = session.run(outputs, one)
            except BaseException:
                deque(numbers, maxlen=0)  # take the rest: nobody gets an answer of this batch
                raise

        helpers = [self._pool.submit(work) for _ in range(min(self._at_once, samples) - 1)]
        try:
            work()
        finally:
            wait(helpers)
        for helper in helpers:
            helper.result()
        return [np.concatenate(parts) for parts in zip(*answers, strict=True)]

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


class BoundTensors:
    """A session's inputs and outputs for one number of samples, bound to memory of the device that is kept."""

    def __init__(self, session: Any, package: ModelPackage, size: int, device: str) -> None:
        """Take the memory, on `device` ("cuda" or "cpu")."""
        self._session = session
        self._size = size
        self._binding = session.io_binding()
        self._inputs = {spec.name: _tensor(spec, size, device) for spec in package.inputs}
        self._outputs = {spec.name: _tensor(spec, size, device) for spec in package.outputs}
        taken = {node.name for node in session.get_inputs()}
        for name, value in self._inputs.items():
            if name in taken:
                self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)
        self.memory_bytes = size * sum(spec.sample_bytes for spec in (*package.inputs, *package.outputs))

    def run(self, inputs: dict[str, Array]) -> list[Array]:
        """Copy `inputs` in, run, and copy the outputs out."""
        for name, array in inputs.items():
            self._inputs[name].update_inplace(filled(array, self._size))
        self._binding.synchronize_inputs()
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
        return [value.numpy().copy() for value in self._outputs.values()]


def _tensor(spec: TensorSpec, size: int, device: str) -> Any:
    shape = (size, *spec.sample_shape)
    return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, spec.dtype.numpy.type, device, 0)


def session_options(threads: int) -> Any:
    """How every session is run. Its threads sleep when they have nothing to do: spinning would gain little on an idle
    machine, and take the cores away from the host's other processes on a busy one.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Weights that a graph has in other files would be read from where this process happens to work, checked by nobody.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NO_FOLDER)
    return options


def _open_session(package: ModelPackage, form: Variant, place: Place, weights: bytes, threads: int) -> Any:
    options = session_options(threads)
    if place is not Place.CPU:
        options.log_severity_level = _NOTHING
    providers = _providers(package, place)
    try:
        # Without its own fallback, which runs the model elsewhere after an error and prints that.
        session = onnxruntime.InferenceSession(weights, options, providers=providers, enable_fallback=False)
    except Exception as error:  # noqa: BLE001  # its errors share no base class
        if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
            raise OutOfMemory(f"{package.name}: not enough memory on {place} to load {form.file}") from None
        if place is not Place.CPU and _DEVICE_FAULT.search(str(error)):
            raise RouteUnavailable(f"{package.name}: ONNX Runtime cannot use {place} here") from None
        file = package.directory / form.file
        raise PackageError(file, "", f"ONNX Runtime cannot load it: {_first_line(error)}") from None
    if _PROVIDERS[place] not in session.get_providers():
        missing = _preload_cuda() or "its own reason is not known"
        raise RouteUnavailable(f"{package.name}: {place} is demanded, but ONNX Runtime cannot use it here ({missing})")
    return session


@functools.cache
def _preload_cuda() -> str:
    """Load CUDA's libraries from the packages that bring them; what is missing, as the library says it."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        onnxruntime.preload_dlls()
    return said.getvalue().partition("\n")[0]


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _providers(package: ModelPackage, place: Place) -> list[Any]:
    """What to ask for, best first; what the best cannot run of a graph goes to the next.

    Raises `RouteUnavailable` where asking would only make the library print errors.
    """
    wanted: list[Any] = [_PROVIDERS[Place.CPU]]
    if place is Place.CPU:
        return wanted
    if not _GPU_DEVICES.exists() or _PROVIDERS[place] not in onnxruntime.get_available_providers():
        raise RouteUnavailable(f"{package.name}: {place} needs an NVIDIA GPU with CUDA, which is not here")
    _preload_cuda()
    if not _loads(_CUDNN, []):
        raise RouteUnavailable(f"{package.name}: {place} needs cuDNN 9 ({_CUDNN}), which is not installed")
    # An exhaustive search would run again for every new batch size. With TF32, float32 would be no float32.
    cuda = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
    wanted.insert(0, (_PROVIDERS[Place.CUDA], cuda))
    if place is Place.TENSORRT:
        if missing := _load_tensorrt():
            raise RouteUnavailable(f"{package.name}: {place} needs {missing}, which cannot be loaded")
        wanted.insert(0, (_PROVIDERS[Place.TENSORRT], _tensorrt_profile(package)))
    return wanted


def _tensorrt_profile(package: ModelPackage) -> dict[str, str]:
    """One plan for all batch sizes, best at the largest; else each new size would be planned anew, for minutes."""

    def shapes(samples: int) -> str:
        return ",".join(f"{s.name}:{'x'.join(map(str, (samples, *s.sample_shape)))}" for s in package.inputs)

    most = shapes(package.batch.size)
    return {
        "trt_profile_min_shapes": shapes(1),
        "trt_profile_opt_shapes": most,
        "trt_profile_max_shapes": most,
    }


def _load_tensorrt() -> str:
    """Load the libraries that ONNX Runtime's provider was linked with, from the system or a package of `tensorrt`; the
    first that cannot be loaded, with its version, which must be that.
    """
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # it has no option for it: with TF32, float32 would be no float32
    provider = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_tensorrt.so"
    if not provider.exists():
        return provider.name
    found = sorted(set(re.findall(rb"libnv(?:infer|onnxparser|infer_plugin)\.so\.\d+", provider.read_bytes())))
    spec = importlib.util.find_spec("tensorrt_libs")
    folders = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    return next((name.decode() for name in found if not _loads(name.decode(), folders)), "")


def _loads(name: str, folders: list[Path]) -> bool:
    for candidate in (*(str(folder / name) for folder in folders), name):
        try:
            ctypes.CDLL(candidate, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return True
    return False


def _check_graph(package: ModelPackage, form: Variant, session: Any) -> int:
    """Compare names, types and shapes; return the one number of samples that the graph takes, 0 where it is open."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    unfed = {node.name for node in inputs} - {spec.name for spec in package.inputs}
    if unfed:
        raise PackageError(package.directory, "inputs", f"the graph also needs {sorted(unfed)}")
    fixed: set[int] = set()
    for key, specs, nodes in (("inputs", package.inputs, inputs), ("outputs", package.outputs, outputs)):
        found = {node.name: node for node in nodes}
        for position, spec in enumerate(specs):
            where = f"{key}.{position}"
            node = found.get(spec.name)
            if node is None:
                raise PackageError(package.directory, where, f"{form.file} has no {spec.name!r}, only {sorted(found)}")
            fixed.add(_check_node(package, where, spec, node))
    fixed.discard(0)
    if len(fixed) > 1:
        raise PackageError(package.directory, "batch.size", f"{form.file} has tensors of {sorted(fixed)} samples")
    return fixed.pop() if fixed else 0


def _check_node(package: ModelPackage, where: str, spec: TensorSpec, node: Any) -> int:
    """Compare type and shape; the graph may leave a dimension open, the package not. Return its samples, 0 if open."""
    if node.type != _ELEMENT_TYPES[spec.dtype]:
        raise PackageError(package.directory, f"{where}.dtype", f"is {spec.dtype}, but the graph has {node.type}")
    samples, *rest = node.shape or [1]
    fixed = samples if isinstance(samples, int) else 0
    same = len(rest) == len(spec.sample_shape) and all(
        not isinstance(size, int) or size == declared for size, declared in zip(rest, spec.sample_shape, strict=True)
    )
    if (fixed and fixed < package.batch.size) or not same:
        raise PackageError(
            package.directory,
            f"{where}.shape",
            f"is {list(spec.shape)}, but the graph has {node.shape} (its first dimension must be open, or no smaller "
            "than the batch size)",
        )
    return fixed
