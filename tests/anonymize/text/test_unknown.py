"""What no table knows: rare names by how they stand, numbers by their structure, places by what is said of them."""

import pytest

from anonymize.text import find


def found(text):
    return [(str(finding.kind), text[finding.start : finding.end]) for finding in find(text)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Zorvane Quillbrack was seen in clinic.", ["Zorvane Quillbrack"]),
        ("Note by R. Quillbrack.", ["R. Quillbrack"]),
        ("Zorvane O. Quillbrack-Tarnis agreed.", ["Zorvane O. Quillbrack-Tarnis"]),
        ("Zorvane called at noon.", ["Zorvane"]),
        ("Zorvane\u2019s scan is back.", ["Zorvane"]),
        ("Surgery (Quillbrack) agrees.", ["Quillbrack"]),
        ("The driver Zorvane is unhurt.", ["Zorvane"]),
        ("Two of the Quillbrack family carry it.", ["Quillbrack"]),
        ("Hope, please call back.", ["Hope"]),
        ("told Dawn twice", ["Dawn"]),
        ("Umut'un eşi aradı.", ["Umut"]),
        ("Ayşe'nin kateteri çekildi.", ["Ayşe"]),
        ("smith,john: two charts", ["smith,john"]),
        ("Elif Ş. geldi", ["Elif Ş."]),
        ("hasta adı zorvane", ["zorvane"]),
    ],
)
def test_unknown_and_everyday_words_are_names_where_they_stand_like_names(text, names):
    assert [span for kind, span in found(text) if kind == "NAME"] == names


@pytest.mark.parametrize(
    "text",
    [
        "Hope is not lost. The rose garden. Dawn broke late in winter.",
        "Started on Zorvastatin and Quillmycin.",
        "Clinical History: Chest Pain. Final Report. Electronically Signed.",
        "Social Security Number on file. Policy Holder unknown.",
        "Sister Mary Joseph nodule. Orphan Annie nuclei. St. Louis encephalitis.",
        "Escherichia coli and Candida albicans. E. coli.",
        "Parkinson's disease, Kehr's sign, Murphy's sign, Baker's cyst.",
        "Today's Scan. Patient's Mother. Yesterday's CT.",
        "BT'de nodül yok. MR'ında kist var. EKG'si normal.",
    ],
)
def test_prose_headings_drugs_organisms_and_expressions_stand(text):
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "kind", "number"),
    [
        ("Hasta Elif Kaya (4410972) geldi", "RECORD_NUMBER", "4410972"),
        ("olay bildirimi QX-2023-0417", "RECORD_NUMBER", "QX-2023-0417"),
        ("Dosya K-204-1180 ve K-204-1181", "RECORD_NUMBER", "K-204-1181"),
        ("mrn4410972", "RECORD_NUMBER", "4410972"),
        ("NHS No: 401 023 2137", "RECORD_NUMBER", "401 023 2137"),
        ("authorization Q-4410972201", "RECORD_NUMBER", "Q-4410972201"),
        ("Card 4000 0000 0000 0002", "OTHER", "4000 0000 0000 0002"),
        ("user name qtarnis77", "OTHER", "qtarnis77"),
        ("Registration QX21 TRN, a van", "PLATE", "QX21 TRN"),
        ("car tag 4QXT 19", "PLATE", "4QXT 19"),
        ("SS# 123.45.6789", "SSN", "123.45.6789"),
        ("London SW1A 1AA", "ZIP", "SW1A 1AA"),
        ("Merkez/Kütahya 43100", "ZIP", "43100"),
        ("office 020 7946 0000", "PHONE", "020 7946 0000"),
        ("DOB 3-4-51", "DATE", "3-4-51"),
        ("seen Fri 3/14", "DATE", "Fri 3/14"),
        ("12 Mayıs Pazartesi alınacak", "DATE", "12 Mayıs Pazartesi"),
        ("her grandmother is 94.", "AGE", "94"),
        ("Elif Kaya, 93, diyabet", "AGE", "93"),
        ("She lives in Quillbrack with her son.", "ADDRESS", "Quillbrack"),
        ("Quillbrackova'dan geliyor", "ADDRESS", "Quillbrackova"),
        ("P.O. Box 12, Tarnis Springs, NM", "ADDRESS", "P.O. Box 12, Tarnis Springs, NM"),
    ],
)
def test_numbers_places_and_ages_are_found_by_structure_and_by_what_is_said_of_them(text, kind, number):
    assert (kind, number) in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "BRCA2 c.5946delT, rs1801133, NCT01234567, RID12345.",
        "TNM T2N1M0, Gleason 3+4, ICD C79.51, HbA1c 7.2.",
        "Kernel B30f, VB20P, 120 kVp, 250 mAs.",
        "Version 5.5.55, ratio 3/4, strength 5/5.",
        "SpO2 95, 94, 96. Rate 92, regular.",
        "Increase in T2 signal from Baseline.",
        "registration accuracy 2 mm; plate 3 mm thick; tag 4",
    ],
)
def test_variants_trials_scores_and_values_stand(text):
    assert found(text) == []
