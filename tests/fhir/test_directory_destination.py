"""The directory as a destination: whole files, private, named for nobody; and a page that can do no harm."""

import base64
import errno
import os
import re
import stat
import threading
from dataclasses import replace
from html.parser import HTMLParser
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.directory import DirectoryDestination, render
from adapters.fhir import Delivered, DocumentError, EmbeddedPatient, Retry, Superseded, build_withdrawal
from adapters.fhir.wording import ENGLISH
from tests.fhir.samples import (
    AYSE,
    HEATMAP,
    ISSUED,
    ISSUER,
    PLANTED,
    PNEUMONIA,
    REPORT_ID,
    STUDY,
    SYSTEM,
    document,
    finding,
    image,
    result,
    unusable,
)  # fmt: skip
from tests.planted import search_bytes

AYSE_TOLD = EmbeddedPatient(AYSE, SYSTEM)
DOCUMENT = document(subject=AYSE_TOLD)


@pytest.fixture
def destination(tmp_path):
    return DirectoryDestination(tmp_path / "reports", {ISSUER: SYSTEM})


def destination_files(destination):
    return sorted(set(os.listdir(destination.path)) - {".kopru"})


def lose(folder):
    """As where its disk is not mounted any more: what it was mounted on is empty."""
    folder.rename(folder.with_name("elsewhere"))


@pytest.mark.parametrize("mounted_on_itself", [True, False])
def test_folder_is_not_made_anew_in_the_place_of_a_disk_that_is_not_mounted(tmp_path, mounted_on_itself):
    disk = tmp_path / "disk"
    path = disk if mounted_on_itself else disk / "reports"
    running = DirectoryDestination(path, {})
    assert running.deliver(DOCUMENT) == Delivered()
    lose(disk)
    disk.mkdir()
    later = document(subject=AYSE_TOLD, report_id=uuid4())
    for destination in (running, DirectoryDestination(path, {}, has_reports=True)):  # the second, after a restart
        outcome = destination.deliver(later)
        assert isinstance(outcome, Retry)
        assert "is its disk mounted" in outcome.reason
        assert outcome.settled
        assert os.listdir(disk) == []
    disk.rmdir()
    (tmp_path / "elsewhere").rename(disk)
    assert running.deliver(later) == Delivered()
    assert running.deliver(DOCUMENT) == Delivered(already=True)


def test_folder_begins_anew_when_a_person_says_so(destination):
    emptied = DirectoryDestination(destination.path, {}, has_reports=True)
    destination.path.mkdir()
    outcome = emptied.deliver(DOCUMENT)
    assert isinstance(outcome, Retry)
    assert "make the file .kopru in it" in outcome.reason
    (destination.path / ".kopru").touch()
    assert emptied.deliver(DOCUMENT) == Delivered()


def test_folder_of_an_earlier_version_is_known_by_its_reports(destination):
    destination.deliver(DOCUMENT)
    (destination.path / ".kopru").unlink()
    assert DirectoryDestination(destination.path, {}, has_reports=True).deliver(DOCUMENT) == Delivered(already=True)


def test_patient_is_told_as_the_pacs_told_it(destination):
    assert destination.match_patient(AYSE) == AYSE_TOLD
    stranger = replace(AYSE, issuer="NEREDE")
    assert destination.match_patient(stranger) == EmbeddedPatient(stranger, None)


def test_report_is_written_as_sent_and_as_a_page(destination):
    assert destination.deliver(DOCUMENT) == Delivered()
    (stored,) = destination.reports()
    assert stored.report_id == REPORT_ID
    assert stored.document.read_bytes() == DOCUMENT
    assert "ÖRNEKOĞLU, AYŞEGÜL" in stored.page.read_text()


def test_files_are_for_their_owner_alone_and_named_for_nobody(destination):
    destination.deliver(DOCUMENT)
    assert sorted(os.listdir(destination.path)) == [".kopru", f"{REPORT_ID}.html", f"{REPORT_ID}.json"]
    for file in destination.path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(destination.path.stat().st_mode) == 0o700


def test_second_delivery_changes_nothing(destination):
    destination.deliver(DOCUMENT)
    before = {file.name: file.stat() for file in destination.path.iterdir()}
    assert destination.deliver(DOCUMENT) == Delivered(already=True)
    after = {file.name: file.stat() for file in destination.path.iterdir()}
    assert {name: (s.st_ino, s.st_mtime_ns) for name, s in before.items()} == {
        name: (s.st_ino, s.st_mtime_ns) for name, s in after.items()
    }


def test_later_revision_replaces_and_is_never_replaced(destination):
    destination.deliver(DOCUMENT)
    later = document(subject=AYSE_TOLD, revision=2, previous=DOCUMENT)
    assert destination.deliver(later) == Delivered()
    assert destination.deliver(DOCUMENT) == Superseded(2)
    (stored,) = destination.reports()
    assert stored.document.read_bytes() == later
    assert "Revision 2" in stored.page.read_text()


def test_what_a_crash_left_is_listed_overwritten_and_cleared(destination):
    destination.path.mkdir()
    leftovers = [f".{REPORT_ID}.json.partial", f".{REPORT_ID}.html.partial", f"{REPORT_ID}.html", f"{REPORT_ID}.json"]
    for name in leftovers:
        (destination.path / name).write_bytes(b"half a rep")
    assert [stored.report_id for stored in destination.reports()] == [REPORT_ID]
    assert destination.deliver(DOCUMENT) == Delivered()
    assert len(destination_files(destination)) == 2
    (destination.path / leftovers[0]).write_bytes(b"half")
    destination.clear([REPORT_ID])
    assert destination_files(destination) == []


def test_clearing_takes_only_what_is_asked_for(destination):
    other = uuid4()
    destination.deliver(DOCUMENT)
    destination.deliver(document(subject=AYSE_TOLD, report_id=other))
    (destination.path / "notes.txt").write_text("not ours")
    destination.clear([REPORT_ID, uuid4()])
    assert [stored.report_id for stored in destination.reports()] == [other]
    assert (destination.path / "notes.txt").exists()


def test_cleared_file_is_overwritten_before_it_goes(destination):
    destination.deliver(DOCUMENT)
    (stored,) = destination.reports()
    with stored.document.open("rb") as still_open:
        destination.clear([REPORT_ID])
        assert not search_bytes(still_open.read(), PLANTED, "the old blocks")


def test_folder_that_is_not_there_has_no_reports(destination):
    assert destination.reports() == ()
    destination.clear([REPORT_ID])
    assert not destination.path.exists()


def test_full_disk_means_later_and_names_no_patient(destination, monkeypatch):
    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert destination.deliver(DOCUMENT) == Retry("the folder cannot be written (ENOSPC)")
    assert destination_files(destination) == []


def test_reader_never_sees_half_a_document(destination):
    documents = [DOCUMENT]
    for revision in range(2, 12):
        documents.append(document(subject=AYSE_TOLD, revision=revision, previous=documents[-1]))
    destination.deliver(documents[0])
    (stored,) = destination.reports()
    seen, done = set(), threading.Event()

    def read():
        while not done.is_set():
            seen.add(stored.document.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for made in documents:
        destination.deliver(made)
    done.set()
    reader.join()
    assert seen <= set(documents)


def test_other_bytes_are_not_written(destination):
    with pytest.raises(DocumentError):
        destination.deliver(b'{"resourceType":"Patient"}')
    assert destination.reports() == ()


class _Page(HTMLParser):
    """What a page is made of, and which addresses it names."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def test_page_says_who_what_how_likely_and_that_nobody_has_reviewed_it():
    two = result(
        image(finding(PNEUMONIA, 0.87)), image(finding(PNEUMONIA, 0.2)), unusable("lateral image"), forced=True
    )
    text = _Page(render(document(subject=AYSE_TOLD, study_result=two))).text
    for said in (
        "ÖRNEKOĞLU, AYŞEGÜL", "70013377", "1971-02-03", "female", "ACC-4711", "2026-03-01 11:58 (UTC+03:00)",
        "Pneumonia", "87.0 %", "threshold 50.0 %", "1 of 2 images reach the threshold", "c0ffee", "1.0.0",
        "Triage of frontal",
        ENGLISH.unreviewed.body, ENGLISH.research.body, ENGLISH.incomplete.body, "1 of 3 could not be analysed",
    ):  # fmt: skip
        assert said in text


def test_page_of_a_withdrawn_report_shows_no_finding():
    text = _Page(render(build_withdrawal(DOCUMENT, 2, ISSUED, STUDY))).text
    assert ENGLISH.withdrawn.body in text
    assert "Pneumonia" not in text


def test_every_printed_sheet_says_whose_it_is():
    page = render(document(subject=AYSE_TOLD))
    assert '<p class="each-page">ÖRNEKOĞLU, AYŞEGÜL, 70013377. AI report, revision 1, partial.</p>' in page
    assert re.search(r"@media print \{[^@]*\.each-page \{ display: table-footer-group; break-inside: avoid", page)


def test_page_for_a_matched_patient_names_the_record():
    assert "Patient/ayse" in _Page(render(document())).text


def test_page_has_no_script_and_no_outside_resource():
    page = _Page(render(DOCUMENT))
    assert not {"script", "link", "img", "iframe", "a", "form", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name in {"src", "href", "style"} or name.startswith("on")]
    assert any("default-src 'none'" in (value or "") for _, value in page.attributes)
    assert not re.search(r"url\(|@import", render(DOCUMENT))


@given(
    st.text(min_size=1, max_size=30), st.sampled_from(["<script>x</script>", "$style", '"><img src=x>', "&lt;", "${x}"])
)
def test_no_text_becomes_markup_of_the_page(text, attack):
    told = EmbeddedPatient(replace(AYSE, name=f"{text}{attack}^x", patient_id=attack + text), None)
    clean, attacked = _Page(render(DOCUMENT)), _Page(render(document(subject=told)))
    assert sorted(set(attacked.tags)) == sorted(set(clean.tags))
    assert "script" not in attacked.tags
    assert attack in attacked.text


def test_page_holds_nothing_that_the_document_does_not():
    nobody = replace(AYSE, patient_id="", issuer="", name="", birth_date="", sex="")
    page = render(
        document(subject=EmbeddedPatient(nobody, None), study=replace(STUDY, started="", accession_number=""))
    )
    assert "Name not told" in page
    assert not search_bytes(page.encode(), [p for p in PLANTED if not p.startswith("1.2.826")], "the page")


def test_page_shows_the_heatmap_and_a_withdrawn_page_does_not():
    made = document(subject=AYSE_TOLD, heatmaps=(HEATMAP,))
    page = render(made)
    assert f'src="data:image/png;base64,{base64.b64encode(HEATMAP.png).decode()}"' in page
    assert "what raised the score of Pneumonia" in page
    assert "<img" not in render(build_withdrawal(made, 2, ISSUED, STUDY))
    assert "<img" not in render(DOCUMENT)
