"""Patients: Turkish and English names, some of them ordinary words, with the numbers that hospitals give them."""

import random
from dataclasses import dataclass
from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_TURKISH_GIVEN: Final = _words("""
Mehmet Mustafa Ahmet Ali Hüseyin Hasan İbrahim İsmail Osman Murat Yusuf Ömer Ramazan Halil Süleyman Abdullah
Fatih Emre Hakan Adem Kemal Yaşar Bekir Kadir Emin Serkan Orhan Cem Can Efe Ege Ata Eren Kaan Fatma Ayşe Emine
Hatice Zeynep Elif Meryem Şerife Sultan Hanife Merve Zehra Özlem Esra Dilek Derya Ebru Sevgi Gül Nur Ece Naz
Su Ela Ada
""")
_TURKISH_FAMILY: Final = _words("""
Yılmaz Kaya Demir Çelik Şahin Yıldız Yıldırım Öztürk Aydın Özdemir Arslan Doğan Kılıç Aslan Çetin Kara Koç
Kurt Özkan Şimşek Polat Korkmaz Özcan Çakır Erdoğan Yavuz Can Acar Şen Aktaş Güler Yalçın Güneş Bozkurt Bulut
Keskin Ünal Turan Gül Özer Işık Kaplan Avcı Sarı Tekin Taş Köse Yüksel Ateş Aksoy Er Ay Uz Su Tan Ok
""")
_ENGLISH_GIVEN: Final = _words("""
James Mary Robert Patricia John Jennifer Michael Linda David Elizabeth William Barbara Richard Susan Joseph
Jessica Thomas Sarah Christopher Karen Charles Lisa Daniel Nancy Matthew Betty Anthony Sandra Mark Ashley
Donald Emily Paul Kim Steven Donna Andrew Carol Kenneth Ann Joshua Amy Ian Leo Eve Jo Al Ed Tom Sam Ben Dan
Ray Joy Eva Mia Zoe Ava
""")
_ENGLISH_FAMILY: Final = _words("""
Smith Johnson Williams Jones Garcia Miller Davis Rodriguez Martinez Hernandez Lopez Gonzalez Wilson Anderson
Taylor Moore Jackson Martin Lee Perez Thompson White Harris Sanchez Clark Ramirez Lewis Robinson Walker Allen
Wright Scott Torres Nguyen Hill Flores Adams Nelson Baker Rivera Campbell Mitchell Carter Roberts Li Wu Xu Ho
Ng O'Brien Cox
""")
_WORDS: Final = _words("""
Deniz Umut Barış Savaş Bahar Yağmur Toprak Çiçek Kalp Kol Baş Diz Sol Sağ Kemik Omuz Göz Yüz Bilek Dalak Ayak
Umman May Will Grant Brown Young Long Green Black Gray King Hall Rose Max Min Norm Art Dean Chase Mark Bone
Foot Hand Head Chest Neck Skull Temple Philips Siemens Canon Ge Agfa Field Frame Marker Sharp Short Small
Large Best Contrast Sage Ivy Faith Hope Grace Crystal Pearl Amber Iris Axel Cora Cor Tra Sag Ax Ap Pa Lat
Sharp Page Case Series Aurora Vida Symphony Brilliance Victoria Sierra Prima Vista Edge Scout Major Primary
Original Love Pelvis Spine Angel Art Wade
""")

TURKISH_DESCRIPTIONS: Final = (
    "Toraks BT",
    "Akciğer grafisi PA",
    "BEYİN MR",
    "Sol diz",
    "Sağ omuz AP",
    "Tüm abdomen",
    "KONTRASTLI BEYİN BT",
    "El bilek grafisi",
    "Kalp",
    "Baş boyun",
    "Lomber MR",
    "Meme USG",
    "Pelvis AP",
    "Ayak bileği 2 yönlü",
    "Kemik sintigrafisi",
)
ENGLISH_DESCRIPTIONS: Final = (
    "CT Chest w contrast",
    "Chest PA and lateral",
    "MRI Brain",
    "Left Knee",
    "Hand 3 views",
    "Foot AP",
    "HEAD WITHOUT CONTRAST",
    "Abd/Pelvis",
    "Screening mammogram",
    "Bone scan",
    "C-Spine",
    "Long leg",
    "Small bowel series",
    "Neck soft tissue",
    "Skull 2 views",
    "Young's view",
)


@dataclass(frozen=True, slots=True)
class Person:
    """A patient as a data set tells of one: `name` as PN, dates as DA. `is_word` if a part of the name is a word."""

    name: str
    patient_id: str
    other_ids: tuple[str, ...]
    birth_date: str
    sex: str
    accession_number: str
    address: str
    character_set: str
    codec: str
    descriptions: tuple[str, ...]
    is_word: bool


def draw_person(rng: random.Random, *, words: float) -> Person:
    """Draw a patient; with a chance of `words` a part of the name is an ordinary word or one of the trade's."""
    turkish = rng.random() < 0.5
    given, family = (_TURKISH_GIVEN, _TURKISH_FAMILY) if turkish else (_ENGLISH_GIVEN, _ENGLISH_FAMILY)
    parts = [rng.choice(family), rng.choice(given)]
    if rng.random() < 0.3:
        parts.append(rng.choice(given))
    is_word = rng.random() < words
    if is_word:
        parts[rng.randrange(2)] = rng.choice(_WORDS)
    name = "^".join(parts)
    character_set, codec = rng.choice((("ISO_IR 148", "iso8859_9"), ("ISO_IR 192", "utf_8")))
    address = (
        f"{rng.choice(family)} Cad. No {rng.randrange(1, 400)} {rng.choice(('06100', '34000', 'Ankara', 'Izmir'))}"
    )
    return Person(
        name=_turkish_upper(name) if rng.random() < 0.8 else name,
        patient_id=_number(rng),
        other_ids=(_number(rng),) if rng.random() < 0.2 else (),
        birth_date=f"{rng.randrange(1925, 2026)}{rng.randrange(1, 13):02}{rng.randrange(1, 29):02}",
        sex=rng.choice("MFO"),
        accession_number=_accession(rng),
        address=address if rng.random() < 0.15 else "",
        character_set=character_set,
        codec=codec,
        descriptions=TURKISH_DESCRIPTIONS if turkish else ENGLISH_DESCRIPTIONS,
        is_word=is_word,
    )


def _turkish_upper(text: str) -> str:
    return text.replace("i", "İ").replace("ı", "I").upper()


def _digits(rng: random.Random, fewest: int, most: int) -> str:
    length = rng.randint(fewest, most)
    return str(rng.randrange(10 ** (length - 1), 10**length))


def _number(rng: random.Random) -> str:
    kinds = (
        (10, lambda: _digits(rng, 1, 3)),
        (10, lambda: _digits(rng, 4, 4)),
        (10, lambda: _digits(rng, 5, 5)),
        (30, lambda: _digits(rng, 6, 7)),
        (15, lambda: _digits(rng, 8, 10)),
        (10, lambda: _digits(rng, 11, 11)),
        (4, lambda: rng.choice(("2024", "2000", "1000", "0001", "1234", "512", "100000", "00000001", "3000", "5000"))),
        (8, lambda: f"MR{_digits(rng, 6, 6)}"),
        (3, lambda: f"{rng.choice('ABHPX')}{_digits(rng, 3, 4)}"),
    )
    return rng.choices([draw for _, draw in kinds], [weight for weight, _ in kinds])[0]()


def _accession(rng: random.Random) -> str:
    year = rng.randrange(2015, 2027)
    return rng.choice(
        (
            lambda: _digits(rng, 3, 5),
            lambda: _digits(rng, 6, 8),
            lambda: f"{year}{_digits(rng, 6, 6)}",
            lambda: f"A{year}-{_digits(rng, 4, 5)}",
            lambda: f"RAD{_digits(rng, 7, 7)}",
            lambda: "",
        )
    )()
