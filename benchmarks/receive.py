"""How many instances a receiver stores durably in a second: 512 × 512 CT slices, sent by dcmtk over the loopback.

Run as ``python -m benchmarks.receive [--instances N] [--processes N] [--senders N] [--folder DIR]``. Each instance is
sealed and fsynced before it is acknowledged; `--folder` says on which disk.
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

from tests.peers.availability import command
from tests.receiver.instances import ct, data_set_of, write_file
from tests.receiver.receiver_process import ReceiverOptions
from tests.receiver.receivers import Receivers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=300, help="for each sender")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--senders", type=int, default=1)
    parser.add_argument("--size", type=int, default=512, help="rows and columns")
    parser.add_argument("--folder", type=Path, help="where the store lies; by default the folder for temporary files")
    options = parser.parse_args()
    storescu = command("storescu")
    if storescu is None:
        raise SystemExit("dcmtk's storescu is not installed: apt-get install dcmtk")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root = Path(folder)
        files = [write_file(root / f"{n}.dcm", ct(size=options.size, number=n)) for n in range(options.instances)]
        receivers = Receivers(root, ReceiverOptions(root=""))
        for _ in range(options.processes):
            receivers.start()
        count = options.instances * options.senders
        size = len(data_set_of(files[0]))
        print(f"fsync of {size} bytes: {_fsync_seconds(root, size) * 1e3:.2f} ms on this disk")
        cpu = _cpu_seconds(receivers)
        begun = time.perf_counter()
        sending = [
            subprocess.Popen(
                [storescu, "-R", "-pdu", "131072", "-aec", "KOPRU", "127.0.0.1", str(receivers.port), *files]
            )
            for _ in range(options.senders)
        ]
        failed = sum(process.wait() != 0 for process in sending)
        seconds = time.perf_counter() - begun
        cpu = _cpu_seconds(receivers) - cpu
        receivers.stop()
        stored = sum(len(data) > 0 for _, _, data in receivers.opened())
        receivers.close()
    if failed or stored != count:
        raise SystemExit(f"{failed} senders failed, {stored} of {count} instances stored")
    print(
        f"{count} instances of {options.size} × {options.size}, {options.senders} sender(s), "
        f"{options.processes} process(es), {os.cpu_count()} cores: {count / seconds:.0f} instances/s, "
        f"{count * size / seconds / 1e6:.0f} MB/s, {cpu / count * 1e3:.2f} ms of CPU each"
    )


def _cpu_seconds(receivers: Receivers) -> float:
    total = 0
    for process in receivers.processes:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def _fsync_seconds(folder: Path, size: int) -> float:
    """What the disk alone costs: write, fsync, rename, fsync of the folder."""
    data = os.urandom(size)
    begun = time.perf_counter()
    directory = os.open(folder, os.O_RDONLY)
    for _ in range(20):
        descriptor = os.open(folder / "probe", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(descriptor, data)
        os.fsync(descriptor)
        os.close(descriptor)
        (folder / "probe").rename(folder / "probed")
        os.fsync(directory)
        (folder / "probed").unlink()
    os.close(directory)
    return (time.perf_counter() - begun) / 20


if __name__ == "__main__":
    main()
