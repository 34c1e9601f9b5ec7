"""PostgreSQL, started by the tests: unprivileged, in a temporary folder, on a free port, with durability left on.

Run as root, the server gets an account of its own, since it refuses root. A test's database is a copy of a template.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import psycopg
from psycopg import sql

from tests.peers.availability import postgresql_folder
from tests.peers.process import PeerProcess, free_port
from tests.waiting import wait_until

_SUPERUSER = "kopru_tests"
_TEMPLATE = "kopru_template"
_ATTEMPTS = 3  # at a port that another process may take between our look and the server's start


def _account() -> str | None:
    """The account to run as, where we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise AssertionError("root cannot run PostgreSQL and there is neither an account 'postgres' nor 'nobody'")


class PostgreSQL:
    """A running server. Its folder is removed when it stops."""

    def __init__(self) -> None:
        programs = postgresql_folder()
        assert programs, "PostgreSQL's server programs are not installed"
        self._programs = programs
        self._user = _account()
        self._password = secrets.token_hex(16)
        # Not pytest's temporary folder: that is closed to the account that the server runs under.
        self.folder = Path(tempfile.mkdtemp(prefix="kopru-pg-"))
        if self._user:
            os.chown(self.folder, pwd.getpwnam(self._user).pw_uid, pwd.getpwnam(self._user).pw_gid)
        self._initialise()
        self.port, self.process = self._start()

    def _initialise(self) -> None:
        password_file = self.folder / "password"
        password_file.write_text(self._password)
        owner = pwd.getpwnam(self._user) if self._user else None
        if owner:
            os.chown(password_file, owner.pw_uid, owner.pw_gid)
        done = subprocess.run(
            [
                self._programs / "initdb",
                f"--pgdata={self.folder / 'data'}",
                f"--username={_SUPERUSER}",
                "--auth=scram-sha-256",
                f"--pwfile={password_file}",
                "--encoding=UTF8",
                "--locale=C",
            ],
            capture_output=True,
            text=True,
            cwd=self.folder,
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
            extra_groups=[] if owner else None,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        )
        assert done.returncode == 0, f"initdb failed:\n{done.stdout}{done.stderr}"
        password_file.unlink()

    def _start(self) -> tuple[int, PeerProcess]:
        log = self.folder / "postgresql.log"
        for _ in range(_ATTEMPTS):
            port = free_port()
            settings = {
                "listen_addresses": "127.0.0.1",
                "port": port,
                "unix_socket_directories": self.folder,
                "fsync": "on",
                "synchronous_commit": "on",
                "max_connections": 200,
                "shared_buffers": "64MB",
            }
            options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
            process = PeerProcess(
                [self._programs / "postgres", "-D", self.folder / "data", *options],
                log=log,
                user=self._user,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                cwd=self.folder,
            )
            wait_until(lambda: not process.running or self._answers(port), "PostgreSQL to answer", 60)  # noqa: B023
            if process.running:
                return port, process
        raise AssertionError(f"PostgreSQL did not start; its log ends:\n{process.output()}")

    def _answers(self, port: int) -> bool:
        try:
            psycopg.connect(self._conninfo("postgres", port), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _conninfo(self, database: str, port: int) -> str:
        return f"host=127.0.0.1 port={port} dbname={database} user={_SUPERUSER} password={self._password}"

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://{_SUPERUSER}:{self._password}@127.0.0.1:{self.port}/{database}"

    def _execute(self, statement: sql.Composable) -> None:
        with psycopg.connect(self._conninfo("postgres", self.port), autocommit=True) as connection:
            connection.execute(statement)

    def create(self, template: str = "template1") -> str:
        """Make a database, a copy of `template`; its name."""
        name = f"test_{secrets.token_hex(6)}"
        self._execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        return name

    def make_template(self, fill: Callable[[str], None]) -> str:
        """Make the template that holds the tables; `fill` gets its URL."""
        name = self.create()
        fill(self.url(name))
        self._execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(_TEMPLATE)))
        return _TEMPLATE

    def drop(self, name: str) -> None:
        """Remove a database with whoever is connected to it."""
        self._execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def dump(self, name: str) -> bytes:
        """The whole of a database as `pg_dump` writes it in plain text; binary columns are in hexadecimal."""
        done = subprocess.run(
            [self._programs / "pg_dump", "--dbname", self._conninfo(name, self.port)], capture_output=True, timeout=120
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    def stop(self) -> None:
        """End the server at once and remove its folder."""
        self.process.stop(signal.SIGINT)
        shutil.rmtree(self.folder)
