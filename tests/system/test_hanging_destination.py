"""A destination that hangs must not keep the rest of the work from being done."""

from pathlib import Path

import pytest

from tests.peers.fault_proxy import Fault, FaultProxy
from tests.system.kopru import Kopru
from tests.system.radiographs import MadeUpPatient, as_dx, drawn_image, save
from tests.waiting import wait_until


@pytest.mark.node
def test_studies_are_analysed_while_the_ehr_hangs(tmp_path: Path, fhir_server):
    with FaultProxy(fhir_server.url) as proxy:
        kopru = Kopru(tmp_path, f"sqlite:///{tmp_path / 'data' / 'kopru.sqlite'}", fhir_url=proxy.url)
        kopru.settings.write_text(
            kopru.settings.read_text().replace("pixel_workers = 1", "pixel_workers = 1\nworkers = 2")
        )
        try:
            kopru.start()
            proxy.plan(*[Fault.SILENCE] * 50, picks=lambda _request: True)
            for number in range(4):
                image = as_dx(drawn_image(number), MadeUpPatient(number))
                kopru.send([save(image, tmp_path / "in" / f"{number}.dcm")])
            wait_until(
                lambda: [study["state"] for study in kopru.studies()] == ["inferred"] * 4,
                "all studies to be analysed though no request is answered",
                18,  # one request alone hangs for 20 s
            )
        finally:
            kopru.process.kill()
            kopru.close()
