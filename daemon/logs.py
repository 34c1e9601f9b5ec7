"""Structured logs on standard error, one event a line. Ids only: nothing here can make identified data safe to log.

What others wrote never gets there, since it may quote what they were given: an exception is logged as its type and the
places it went through, a library's warning as where it comes from, an object as its type.
"""

import logging
import sys
import threading
from collections.abc import Mapping
from pathlib import PurePath
from types import TracebackType
from typing import Any

import structlog


def configure_logging(level: str, form: str, *, process: str) -> None:
    """Send structlog and the standard library's warnings to standard error as `form` ("json" or "console"), each event
    with the `process` it comes from.

    Libraries speak only from WARNING upwards, and `pynetdicom` not at all: its messages can quote data sets.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        # Not a context variable: each thread has a context of its own.
        lambda _logger, _method, event: {**event, "process": process},
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_traceback_values,
        _without_objects,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_plain_exception)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_EventOnly())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda failed: _log_uncaught(failed.exc_type, failed.exc_value, failed.exc_traceback)
    sys.unraisablehook = lambda failed: _log_uncaught(failed.exc_type, failed.exc_value, failed.exc_traceback)
    for silenced in ("pynetdicom", "pydicom", "httpx", "httpcore"):
        logging.getLogger(silenced).setLevel(logging.CRITICAL + 1)


def _log_uncaught(kind: type[BaseException], error: BaseException | None, _trace: TracebackType | None) -> None:
    """An exception that ends a thread or process, without its message: type and places only."""
    if kind is not KeyboardInterrupt:
        structlog.get_logger(__name__).critical(
            "uncaught", error=kind.__qualname__, trace=places(error) if error else []
        )


class _EventOnly(logging.Formatter):
    """A library's warning as its logger and level only: its text may quote what it was given."""

    def format(self, record: logging.LogRecord) -> str:
        where = f"{record.name}:{record.lineno}"
        return f'{{"event": "library_message", "level": "{record.levelname.lower()}", "where": "{where}"}}'


def _without_traceback_values(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Replace an exception by its type and the places it went through: its message may quote data."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event["error"] = type(error).__qualname__
        event["trace"] = places(error)
    return event


def _without_objects(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Replace what is neither text nor a number, at any depth, by its type: a `repr` may quote data."""
    return {key: _plain(value) for key, value in event.items()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, PurePath) else type(value).__qualname__


def places(error: BaseException) -> list[str]:
    """Where the exception passed through, innermost last: module and line, no values."""
    found = []
    trace = error.__traceback__
    while trace is not None:
        found.append(f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}")
        trace = trace.tb_next
    return found


def _plain_exception(stream: object, exc_info: object) -> None:
    """Console form of an exception: nothing; `_without_traceback_values` has said what may be said."""
