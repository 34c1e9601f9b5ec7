"""The memory that loaded models may hold of each device, and who has to go when another needs room.

Loading on one device happens one after the other, so that what it takes is known. Never unloads what has requests.
"""

import ctypes
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Protocol

import structlog

from runtime.errors import OutOfMemory
from runtime.health import MemoryUse
from runtime.inference import Device

_log = structlog.get_logger(__name__)

_UNLOADING_SECONDS: Final = 30.0
_SHARE_OF_GPU: Final = 0.8
_NO_FAULT: Final = (0, 3, 201)  # success, not initialised, no context: nothing was run


class Tenant(Protocol):
    """What holds memory of a device."""

    @property
    def device(self) -> Device:
        """Where."""

    @property
    def memory_bytes(self) -> int:
        """How much, at present."""

    @property
    def last_used(self) -> float:
        """When it was last asked, on the monotonic clock."""

    def unload(self, timeout_seconds: float) -> bool:
        """Let go of it if there are no requests; whether it has."""


class MemoryBudget:
    """The limits of the devices, and what lives there. Safe to use from several threads."""

    def __init__(self, limits: Mapping[Device, int]) -> None:
        """`limits` are in bytes; a device that is not named has none."""
        self._limits = dict(limits)
        self._lock = threading.Lock()
        self._tenants: list[Tenant] = []
        self._loading = {device: threading.Lock() for device in Device}

    def enter(self, tenant: Tenant) -> None:
        """From now on it is counted."""
        with self._lock:
            self._tenants.append(tenant)

    def leave(self, tenant: Tenant) -> None:
        """It holds nothing any more."""
        with self._lock:
            self._tenants.remove(tenant)

    def use(self) -> tuple[MemoryUse, ...]:
        """What each device's tenants hold, of the devices with a limit or a tenant."""
        tenants = self._all()
        devices = sorted({tenant.device for tenant in tenants} | self._limits.keys())
        return tuple(MemoryUse(device, self._used(device), self._limits.get(device)) for device in devices)

    @contextmanager
    def loading(self, device: Device) -> Iterator[None]:
        """While something is loaded there."""
        if device is Device.REMOTE:
            yield
            return
        with self._loading[device]:
            yield

    def make_room(self, tenant: Tenant, wanted_bytes: int) -> None:
        """Unload others until `wanted_bytes` more fit beside what is there. Raises `OutOfMemory` if they cannot."""
        limit = self._limits.get(tenant.device)
        if limit is None:
            return
        while self._used(tenant.device) + wanted_bytes > limit:
            if not self.unload_one(tenant):
                raise OutOfMemory(
                    f"{wanted_bytes} bytes more would exceed the {limit} that models may hold on {tenant.device}, and "
                    "nothing there can be unloaded"
                )

    def unload_one(self, tenant: Tenant) -> bool:
        """Unload the one on the same device that was not used for the longest time; whether there was one."""
        others = [other for other in self._all() if other.device is tenant.device and other is not tenant]
        for other in sorted(others, key=lambda other: other.last_used):
            if other.memory_bytes and other.unload(_UNLOADING_SECONDS):
                return True
        return False

    def _used(self, device: Device) -> int:
        return sum(tenant.memory_bytes for tenant in self._all() if tenant.device is device)

    def _all(self) -> list[Tenant]:
        with self._lock:
            return list(self._tenants)


def default_limits() -> dict[Device, int]:
    """No limit on the CPU; on the first GPU, if there is one, four fifths of its memory."""
    total = _gpu_bytes()
    return {Device.CUDA: int(total * _SHARE_OF_GPU)} if total else {}


def _gpu_bytes() -> int:
    """The memory of the first GPU, 0 without one: asked of the driver, which is there before any library of models."""
    driver = _driver()
    if driver is None:
        return 0
    device, total = ctypes.c_int(), ctypes.c_size_t()
    found = (
        driver.cuInit(0) == 0
        and driver.cuDeviceGet(ctypes.byref(device), 0) == 0
        and driver.cuDeviceTotalMem_v2(ctypes.byref(total), device) == 0
    )
    return total.value if found else 0


def gpu_is_lost() -> bool:
    """Whether this thread's work on a GPU has met a fault: that stays, and the driver tells whoever asks it next.

    True where there is no driver to ask.
    """
    driver = _driver()
    return driver is None or driver.cuCtxSynchronize() not in _NO_FAULT


def _driver() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
