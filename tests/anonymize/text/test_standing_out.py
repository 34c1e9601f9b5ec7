"""Names that only their place in a text tells: within a sentence, in a list, after a heading, in small letters, in
capitals, and wherever they stand again; and things that stand there, too. Other identifiers by their form.
"""

import pytest

from anonymize.text import find
from anonymize.text.roles import is_in_use


def found(text):
    return [(str(finding.kind), text[finding.start : finding.end]) for finding in find(text)]


def names(text):
    return [span for kind, span in found(text) if kind == "NAME"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Blood was drawn when Zorvane arrived.", ["Zorvane"]),
        ("Anesthesia: Quillbrack   EBL 150 mL", ["Quillbrack"]),
        ("Runner: Quillbrack   Bay 2", ["Quillbrack"]),
        ("Zorvane slumped over.", ["Zorvane"]),
        ("Mr. Zorvane rests. Alert; ZORVANE, 4 West", ["Zorvane", "ZORVANE"]),
        ("Yazarken Ahmet düştü.", ["Ahmet"]),
        ("Surgeon - Quillbrack. Scrub - Zorvane.", ["Quillbrack", "Zorvane"]),
        ("Seen today: Zorvane, Olivia, Tarnis.", ["Zorvane", "Olivia", "Tarnis"]),
        ("Zorvane Quillbrack is stable. The daughter of Quillbrack rang.", ["Zorvane Quillbrack", "Quillbrack"]),
        ("Hi Olivia, Summer slept well; I will let Rosa know.", ["Olivia", "Summer", "Rosa"]),
        ("Dr. Bone read the bone scan.", ["Bone"]),
        ("Renal (O'Zorvane) following.", ["O'Zorvane"]),
        ("Rutherford B. Zorvane III agreed.", ["Rutherford B. Zorvane III"]),
        ("MRS ZORVANE WAS SEEN WITH HER SON OLIVER.", ["ZORVANE", "OLIVER"]),
        ("hey mike, the films of mrs quillbrack; spoke with priya", ["mike", "quillbrack", "priya"]),
        ("hasta emine yildirim sabah dusmus, kizi gulay getirmis", ["emine yildirim", "gulay"]),
        ("Toprak Ekin: toprak yeme öyküsü", ["Toprak Ekin"]),
        ("Savaş ile Barış kardeşler, savaş gazisi değil.", ["Savaş", "Barış"]),
        ("RAPORU ZORVANKAYA YAZDI, DÜN.", ["ZORVANKAYA"]),
    ],
)
def test_where_a_word_stands_makes_a_name_of_it(text, expected):
    assert names(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "He was given Zorvamet and Lasix; then Zorvalin was stopped.",
        "Sutured with a Zorvex stent; the Zorvex filter is in place.",
        "Howell-Jolly bodies, Charcot-Marie-Tooth disease, Martin-Gruber anastomosis.",
        "smokes one pack per day; may drew blood; will mark the site",
        "Değerlendirilmesinde çocuğun bilinci açıktı.",
        "Aç Karnına Geliniz. Filmlerinizi Getiriniz. Tuzsuz Diyet.",
        "Babası Parkinson, annesi Alzheimer hastasıymış.",
        "Copy of the German scan from Jordan. Patient from Virginia.",
        "T1 MPRAGE, MR'ında ve DEXA'SINDA özellik yok.",
        "2023 Eylül'ünde",
    ],
)
def test_things_and_words_in_use_stand_where_names_would(text):
    assert names(text) == []


@pytest.mark.parametrize(
    ("text", "kind", "span"),
    [
        ("rapor 15.03-18.03.2024 arası", "DATE", "15.03"),
        ("20.01.2024-25.01.2024", "DATE", "25.01.2024"),
        ("15 ve 16 Mart 2024", "DATE", "15 ve 16 Mart 2024"),
        ("geldi 15 03 2024", "DATE", "15 03 2024"),
        ("15.III.2024", "DATE", "15.III.2024"),
        ("5 mart günü", "DATE", "5 mart"),
        ("discharged on 3.7.23.", "DATE", "3.7.23"),
        ("daughter (555 0117)", "PHONE", "555 0117"),
        ("office 0532/555/12/34", "PHONE", "0532/555/12/34"),
        ("merge 70045812 today", "RECORD_NUMBER", "70045812"),
        ("MRN 70045812 into 70045821", "RECORD_NUMBER", "70045821"),
        ("poliçe 88-0041277.", "RECORD_NUMBER", "88-0041277"),
        ("username zquill", "OTHER", "zquill"),
        ("MAC 00:1A:2B:3C:4D:5E", "OTHER", "00:1A:2B:3C:4D:5E"),
        ("last four 1234", "SSN", "1234"),
        ("06490 Çankaya", "ZIP", "06490"),
        ("The patient, now 94, walks.", "AGE", "94"),
        ("Mh. adı: Örnek Mh. 372/2", "ADDRESS", "Örnek Mh. 372/2"),
        ("found on Route 9", "ADDRESS", "Route 9"),
    ],
)
def test_rarer_forms_of_other_identifiers_are_found(text, kind, span):
    assert (kind, span) in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "SNOMED 396275006, phantom 40240315, viral load 1250000 copies/mL, 4000000 cells",
        "ranges 300-1200 mg, 150-2000; dose 5.12.3; ratio 3/4",
        "Uyudu, ağrı yok. UYUDU, AĞRI VAS 2.",
    ],
)
def test_codes_counts_and_ranges_stand(text):
    assert found(text) == []


@pytest.mark.parametrize(
    ("word", "turkish", "in_use"),
    [
        ("degerlendirilmesinde", True, True),
        ("cocugun", True, True),
        ("hemikolektomi", True, True),
        ("kettles", False, True),
        ("zorvane", True, False),
        ("gorulmesinde", False, False),
    ],
)
def test_inflected_words_are_in_use_turkish_ones_in_turkish_texts_only(word, turkish, in_use):
    assert is_in_use(word, turkish=turkish) is in_use
