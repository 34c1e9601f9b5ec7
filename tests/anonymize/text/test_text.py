"""Every rule by examples, the order of rules, suffixes and offsets; no text makes finding raise or take long."""

import time
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anonymize.text import TextClass, clean, find
from anonymize.text.finding import fold

NOTHING = ()


def found(text, **options):
    return [(str(finding.kind), text[finding.start : finding.end]) for finding in find(text, **options)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("T.C. kimlik no: 12345678901", [("TCKN", "12345678901")]),
        ("numarası 10000000146 idi", [("TCKN", "10000000146")]),
        ("sayaç 12345678901 idi", []),
        ("Vergi no 1234567890", [("VKN", "1234567890")]),
        ("TR33 0006 1005 1978 6457 8413 26", [("IBAN", "TR33 0006 1005 1978 6457 8413 26")]),
        ("SSN 123-45-6789", [("SSN", "123-45-6789")]),
        ("Pasaport no: U12345678", [("PASSPORT", "U12345678")]),
        ("plaka 34 ABC 123", [("PLATE", "34 ABC 123")]),
        ("Protokol No: 2024/1234", [("RECORD_NUMBER", "2024/1234")]),
        ("Protokol numarası 20240012", [("RECORD_NUMBER", "20240012")]),
        ("MRN: 12345678", [("RECORD_NUMBER", "12345678")]),
        ("örnek@example.org'a", [("EMAIL", "örnek@example.org")]),
        ("https://example.org/a?b=1.", [("URL", "https://example.org/a?b=1")]),
        ("sunucu 192.0.2.1, sürüm 1.2.3.4", [("IP", "192.0.2.1")]),
        ("0532 123 45 67", [("PHONE", "0532 123 45 67")]),
        ("(212) 555-0134 ext. 12", [("PHONE", "(212) 555-0134 ext. 12")]),
        ("IL 62704", [("ZIP", "62704")]),
        ("TA 120/80, 12x15x20 mm, L4-5, T12, Gleason 3+4", []),
        (
            "Adres: Örnek Mah. Deneme Sok. No:5 Çankaya/Ankara",
            [("ADDRESS", "Örnek Mah. Deneme Sok. No:5 Çankaya/Ankara")],
        ),
        ("45 Oak Avenue, Springfield, IL", [("ADDRESS", "45 Oak Avenue, Springfield, IL")]),
    ],
)
def test_numbers_and_places_are_found_by_form_check_digits_or_the_words_before(text, expected):
    assert found(text) == expected


@pytest.mark.parametrize(
    "written",
    ["12.03.2024", "2024-03-12", "03/12/2024", "20240312", "15 Mart 2024 Cuma", "Mart 2024", "March 15, 2024", "15 "
    "Mart",
     "Friday, March 15, 2024", "on beş Mart iki bin yirmi dört", "the fifteenth of March"],
)  # fmt: skip
def test_dates_more_precise_than_a_year_are_found(written):
    assert found(f"Kontrol ({written})") == [("DATE", written.removeprefix("the "))]


@pytest.mark.parametrize("text", ["2019 yılında", "in 2019", "three days ago", "you may go 3 times", "2 mm aralık"])
def test_years_alone_and_words_like_months_stand(text):
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "ages"),
    [("92 yaşında", ["92"]), ("89 yaşında", []), ("a 94-year-old", ["94"]), ("ninety-four years old", ["ninety-four"]),
     ("doksan iki yaşında", ["doksan iki"]), ("91 mm", [])],
)  # fmt: skip
def test_ages_over_89_are_found(text, ages):
    assert found(text) == [("AGE", age) for age in ages]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Hasta Ahmet Yılmaz'ın BT'si", ["Ahmet Yılmaz"]),
        ("Uzm. Dr. A. Kaya", ["A. Kaya"]),
        ("Prof. Dr. Mehmet Emin Çelik", ["Mehmet Emin Çelik"]),
        ("Ayşe Hanım dün düştü", ["Ayşe"]),
        ("hastanın oğlu Deniz bilgi verdi", ["Deniz"]),
        ("HASTA ADI: FATMA ŞAHİN TORAKS BT", ["FATMA ŞAHİN"]),
        ("ahmet yilmaz arandı", ["ahmet yilmaz"]),
        ("Hasta Mehmetin kontrolü", ["Mehmetin"]),
        ("Mrs. Mary Johnson", ["Mary Johnson"]),
        ("Smith, John", ["Smith, John"]),
        ("Mr. O'Brien's wife Ann called", ["O'Brien", "Ann"]),
        ("Behçet hastalığı, Parkinson öyküsü; Deniz kenarı. Umut verici. Çelik stent.", []),
        ("Parkinson's disease, Crohn's disease, Bell's palsy. Mark the site. Will follow.", []),
        ("SAĞ AKCİĞER ÜST LOBDA NODÜL. KALP BÜYÜMÜŞ.", []),
        ("E. coli üredi. MR Anjiyografi. MS Lezyonları.", []),
    ],
)
def test_names_are_found_with_their_neighbours_and_everyday_words_stand(text, names):
    assert found(text) == [("NAME", name) for name in names]


def test_what_the_patient_is_called_is_found_in_any_spelling():
    known = ["ÇİĞDEMSU^ÖRNEKGİL", "P-00 4711"]
    text = "CIGDEMSU geldi, çiğdemsunun örnekgil; P004711 ve p-00.4711"
    assert [span for _, span in found(text, known=known)] == [
        "CIGDEMSU",
        "çiğdemsunun",
        "örnekgil",
        "P004711",
        "p-00.4711",
    ]


def test_dates_are_shifted_in_their_own_format():
    text = "12.03.2024, 2024-03-12, 15 MART 2024 CUMA, March 15, 2024, 01/31/2024 ve 03/04/2024"
    assert clean(text, shift_date=lambda day: day + timedelta(days=20)).text == (
        "01.04.2024, 2024-04-01, 4 NİSAN 2024 PERŞEMBE, April 4, 2024, 02/20/2024 ve 03/24/2024"
    )


@pytest.mark.parametrize("text", ["03/04/2024", "Mart 2024", "31.12.9999"])
def test_a_date_that_cannot_be_shifted_surely_is_removed(text):
    assert clean(text, shift_date=lambda day: day + timedelta(days=20)).text == "[DATE]"


@given(st.dates(date(1950, 1, 1), date(2049, 12, 1)), st.integers(-400, 400).filter(bool))
@settings(max_examples=50, deadline=None)
def test_shifting_there_and_back_gives_the_same_text(day, days):
    text = f"{day:%d.%m.%Y} {day:%Y-%m-%d}"
    there = clean(text, shift_date=lambda then: then + timedelta(days=days)).text
    assert clean(there, shift_date=lambda then: then - timedelta(days=days)).text == text


def test_cleaning_replaces_by_class():
    assert clean("Dr. Elif Demir, 92 yaşında").text == "Dr. [NAME], [AGE] yaşında"


@pytest.mark.parametrize("text", ["Dr. Elı\u0307f De\u200bmir", "Dr. S\u0327ule Ors"])
def test_decomposed_letters_and_invisible_characters_hide_nothing(text):
    assert [(found.start, found.end) for found in find(text)] == [(4, len(text))]


_PIECES = st.sampled_from(
    [
        "Dr. ",
        "Ahmet ",
        "İ",
        "ı\u0307",
        "12.03.2024 ",
        "Mah. ",
        "TC ",
        "1",
        "a.",
        "\n",
        "'",
        "Smith, ",
        "on ",
        "Mart ",
        "/",
    ]
)


@given(st.one_of(st.text(max_size=80), st.lists(_PIECES, max_size=25).map("".join)))
@settings(max_examples=150, deadline=None)
def test_any_text_is_searched_and_findings_are_sorted_disjoint_and_in_range(text):
    findings = find(text, known=["Örnek 123456"])
    ends = [0, *(finding.end for finding in findings)]
    assert all(end <= finding.start < finding.end <= len(text) for end, finding in zip(ends, findings, strict=False))
    clean(text, shift_date=lambda day: day + timedelta(days=3))


@given(st.text())
def test_folding_keeps_offsets(text):
    assert len(fold(text)) == len(text)


@pytest.mark.soak
@pytest.mark.parametrize(
    "word", ["Bibasilar", "Perihilar", "Hypodense", "Neuroforaminal", "Kardiyotorasik", "Perihiler"]
)
@pytest.mark.parametrize(
    "text", ["{} opacities.", "There is {} change.", "{} oran artmış.", "Akciğerde {} alan mevcut."]
)
def test_words_of_radiologists_are_no_names(word, text):
    assert find(text.format(word)) == ()


@pytest.mark.parametrize(
    "piece",
    [
        "7",
        "A",
        "a.",
        "1 ",
        "Ab ",
        "AB ",
        "1.",
        "Mah. ",
        "0532 ",
        "Ahmet ",
        "a@",
        "x.com/",
        "'",
        " ",
        "\n",
        "12/",
        "Mart ",
        "on ",
        "(",
        "tc no ",
        "a1-",
        ":0",
        "Abc-",
        "Zorvane, ",
        "Zorvane and ",
        "ahmet zorvane ",
        "O'Z",
        "sis",
        "ler",
        "dr. ",
        "1.1-",
        "a at b dot ",
        "ZORVANE ",
    ],
)
def test_time_is_linear(piece):
    """Four times the text takes about four times as long, and not sixteen: measured in this process's own time, in
    which it collects garbage now and then, but not each time.
    """

    def grows_with_length() -> bool:
        short, long = (_seconds((piece * length)[:length]) for length in (12_000, 48_000))
        return long < 10 * max(short, 0.02)

    assert any(grows_with_length() for _ in range(3))


def _seconds(text: str) -> float:
    start = time.process_time()
    find(text, known=["Örnek", "123456"])
    return time.process_time() - start


def test_every_class_is_replaced_by_its_own_name():
    assert {str(kind) for kind in TextClass} == set(TextClass.__members__)
