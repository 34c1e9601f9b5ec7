"""Names of persons: patients, relatives, staff, Turkish and English, by tables of usual names and by the words around
them.

A word is taken for a name by the first of these that applies, read from left to right:

1. after a label ("Adı Soyadı:", "Patient:", "signed by")
2. after a title ("Dr.", "Sayın", "Mrs"), before one ("Hanım", "Bey"), or after a kinship word ("annesi", "wife")
3. after an initial ("A. Yılmaz"), or before a given name and comma ("Smith, John")
4. a usual given or family name, with the capitalised words that go on from it

Words that are also everyday words (Deniz, Will) or stand for a disease (Behçet, Parkinson) need another part of a
name or one of the first two beside them; words that are never part of a name (tables/common.txt) end one. Tables
hold folded words.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

from anonymize.text.finding import Finding, Note, TextClass, Word, table


class Role:
    """What a word can be in or beside a name: bits, since the operators of `enum.Flag` took over half the time here."""

    NONE: Final = 0
    GIVEN: Final = 1 << 0
    FAMILY: Final = 1 << 1
    AMBIGUOUS: Final = 1 << 2
    EPONYM: Final = 1 << 3
    COMMON: Final = 1 << 4
    TITLE: Final = 1 << 5
    AFTER: Final = 1 << 6
    KIN: Final = 1 << 7
    PERSON: Final = 1 << 8
    PARTICLE: Final = 1 << 9


_NAME: Final = Role.GIVEN | Role.FAMILY
_NEVER: Final = Role.COMMON | Role.TITLE | Role.AFTER | Role.KIN | Role.PERSON
_UNSURE: Final = Role.AMBIGUOUS | Role.EPONYM

_TITLES: Final = [
    "dr",
    "drs",
    "prof",
    "doc",
    "docent",
    "uzm",
    "op",
    "opr",
    "yrd",
    "ord",
    "hems",
    "hemsire",
    "sn",
    "sayin",
    "bay",
    "bayan",
    "dt",
    "av",
    "ecz",
    "fzt",
    "psk",
    "dyt",
    "doktor",
    "doctor",
    "mr",
    "mrs",
    "ms",
    "miss",
    "mx",
    "professor",
    "nurse",
    "ebe",
    "avukat",
    "eczaci",
    "psikolog",
    "ogr",
    "gor",
    "uyesi",
    "asst",
    "assoc",
    "sr",
    "teknisyen",
    "tekn",
    "asist",
    "ars",
    "as",
    "sir",
    "dame",
    "rev",
    "pastor",
    "officer",
    "imam",
    "muhtar",
    "fizyoterapist",
    "diyetisyen",
    "intern",
    "midwife",
    "judge",
    "capt",
    "sgt",
    "lt",
]
_AFTER: Final = [
    "bey",
    "hanim",
    "beyin",
    "beye",
    "beyi",
    "beyle",
    "hanimin",
    "hanima",
    "hanimi",
    "hanimla",
    "beyden",
    "hanimdan",
    "hanimefendi",
    "beyefendi",
    "hoca",
    "hocanin",
    "hocam",
    "hocaya",
    "amca",
    "teyze",
    "abla",
    "agabey",
    "abi",
    "dede",
    "nine",
    "hemsire",
    "usta",
    "beyler",
    "efendi",
    "jr",
    "md",
    "phd",
    "rn",
    "do",
    "np",
    "pa",
    "frcr",
    "facr",
    "faca",
    "facs",
    "crnp",
    "dds",
    "bsn",
    "msw",
    "lcsw",
]
_KIN: Final = [
    "annesi",
    "babasi",
    "oglu",
    "kizi",
    "esi",
    "kocasi",
    "karisi",
    "kardesi",
    "ablasi",
    "agabeyi",
    "abisi",
    "teyzesi",
    "halasi",
    "dayisi",
    "amcasi",
    "yengesi",
    "enistesi",
    "dedesi",
    "ninesi",
    "anneannesi",
    "babaannesi",
    "torunu",
    "yegeni",
    "kuzeni",
    "gelini",
    "damadi",
    "kayinvalidesi",
    "kayinpederi",
    "baldizi",
    "nisanlisi",
    "vasisi",
    "velisi",
    "bacisi",
    "oglum",
    "kizim",
    "esim",
    "annem",
    "babam",
    "oglunun",
    "kizinin",
    "esinin",
    "annesinin",
    "babasinin",
    "oglunu",
    "kizini",
    "esini",
    "oglundan",
    "kizindan",
    "ikizi",
    "komsusu",
    "arkadasi",
    "wife",
    "husband",
    "son",
    "daughter",
    "mother",
    "father",
    "sister",
    "brother",
    "aunt",
    "uncle",
    "niece",
    "nephew",
    "grandson",
    "granddaughter",
    "grandmother",
    "grandfather",
    "cousin",
    "partner",
    "spouse",
    "fiance",
    "fiancee",
    "mom",
    "dad",
    "mum",
    "stepson",
    "stepdaughter",
    "stepmother",
    "stepfather",
    "twin",
    "roommate",
    "neighbor",
    "neighbour",
    "friend",
    "guardian",
    "caregiver",
    "widow",
    "widower",
    "girlfriend",
    "boyfriend",
    "proxy",
]
_PERSONS: Final = [
    "hasta",
    "hastamiz",
    "hastanin",
    "patient",
    "refakatci",
    "refakatcisi",
    "yakini",
    "bebek",
    "doktoru",
    "doktorum",
    "hekimi",
    "hekim",
    "hemsiresi",
    "cerrah",
    "cerrahi",
    "anestezist",
    "asistan",
    "asistani",
    "radyolog",
    "bakicisi",
    "doctors",
    "surgeon",
    "physician",
    "radiologist",
    "pt",
    "pts",
    "patients",
    "patient's",
    "technologist",
    "technician",
    "therapist",
    "attending",
    "resident",
    "baby",
    "neonate",
    "client",
    "named",
    "adli",
    "isimli",
    "called",
    "teknisyeni",
    "psikologu",
    "midwife",
    "gentleman",
    "lady",
    "infant",
    "soyadli",
    "adinda",
    "interpreter",
    "pathologist",
    "donor",
    "vericisi",
    "verici",
    "alici",
]
_PARTICLES: Final = [
    "de",
    "da",
    "del",
    "della",
    "di",
    "du",
    "la",
    "le",
    "van",
    "von",
    "der",
    "den",
    "el",
    "al",
    "bin",
    "bint",
    "ibn",
    "mac",
    "mc",
    "st",
    "san",
    "dos",
    "santos",
]
_DISEASE: Final = re.compile(
    r"[' ]{1,2}(?:s\b)?[ -]{0,2}(?:[a-z]{1,20} )?(?:hastali|sendrom|kisti|lenfoma|anomali|tiroidit|ensefalopati"
    r"|felci|paralizi|nefropati|fenomen|belirti|bulgu|isareti|"
    r"testi|skoru|skor\b|sinif|evre|deformit|fraktur|kirig|kirik|malformasyon|tumor|sarkom|operasyon|ameliyat"
    r"|prosedur|yontem|disease|syndrome|"
    r"cyst|lymphoma|anomaly|thyroiditis|encephalopathy|palsy|phenomenon|sign\b|signs\b|score|scale|test\b|tests\b"
    r"|index|criteria|class|classification|"
    r"stage|staging|fracture|malformation|tumou?r|sarcoma|procedure|operation|deformity|contracture|lines?\b|node\b|ligament"
    r"|tendon|duct|pouch|space|"
    r"triangle|angle|area|canal|reflex|esophagus|ozofagus|metaplazi|hernia|maneuver|method|stain|chorea|koresi"
    r"|catheter|kateter|drain|dren|"
    r"coma|koma|indeks|olceg|esophag|nodul|node|divertikul|divertic|aciso|acisi|kontraktur|ulcer|gland|body|bodies"
    r"|cisimci|trias|triad|ring|"
    r"colic|fossa|pulse|solunum|artrit|arter|hucre|cell|grade|derece|tip\b|type\b|repair|nails?\b|scoring|units?\b|\d)"
)
_STOP_AFTER_DISEASE: Final = 48
_MOST_TITLES: Final = 8  # before one name; without an end, a text of titles alone takes time squared


@cache
def _roles() -> dict[str, int]:
    roles: dict[str, int] = {}
    for role, words in (
        (Role.GIVEN, table("turkish_given") | table("english_given")),
        (Role.FAMILY, table("turkish_family") | table("english_family")),
        (Role.AMBIGUOUS, table("ambiguous")),
        (Role.EPONYM, table("eponyms")),
        (Role.COMMON, table("common")),
        (Role.TITLE, _TITLES),
        (Role.AFTER, _AFTER),
        (Role.KIN, _KIN),
        (Role.PERSON, _PERSONS),
        (Role.PARTICLE, _PARTICLES),
    ):
        for word in words:
            roles[word] = roles.get(word, Role.NONE) | role
    return roles


_SUFFIX: Final = re.compile(
    r"(?:(?:lar|ler|gil|giller)(?:i|in|a|e|da|de|dan|den)?|n?(?:in|un)|[yn]?(?:i|u|a|e)|n?(?:da|de|dan|den|ta|te"
    r"|tan|ten)|y?(?:la|le)|ca|ce)$"
)


@cache
def _turkish() -> frozenset[str]:
    return (table("turkish_given") | table("turkish_family")) - table("ambiguous") - table("eponyms")


def _inflected(plain: str) -> int:
    """The role of a Turkish name with a case suffix written on: GIVEN, or NONE."""
    for cut in range(1, min(8, len(plain) - 3)):
        if plain[:-cut] in _turkish() and _SUFFIX.fullmatch(plain[-cut:]):
            return Role.GIVEN
    if plain.endswith("oglu") and len(plain) > 6:
        return Role.FAMILY
    return Role.NONE


_LABEL: Final = re.compile(
    r"\b(?P<name>(?:hasta(?:nin)?\s)?(?:adi?|isim|ismi|soyad[i]?|soyisim"
    r"|soyismi)(?:\s?[,/-]?\s?(?:ve\s)?(?:soyad[i]?|soyisim|soyismi))?"
    r"|(?:patient(?:'s)?\s|full\s|first\s|last\s|middle\s|maiden\s|sur|given\s|family\s|legal\s"
    r"|mother's\s(?:maiden\s)?|father's\s)?names?"
    r"|(?:anne|baba|mother|father)\s?(?:adi|name)|pt name)\s{0,3}[:=]\s{0,4}"
    r"|\b(?:hasta|patient|pt|dr|doktor|doctor|hekim[i]?|imza(?:layan)?|raporlayan|raporu yazan|onaylayan|isteyen"
    r"|istem yapan|yazan|hazirlayan|okuyan|cekimi yapan|"
    r"teknisyen[i]?|hemsire|radyolog|patolog|cerrah|operator|anestezist|asistan|refakatci|yakini?|veli|vasi"
    r"|provider|physician|radiologist|pathologist|"
    r"surgeon|attending|resident|technologist|technician|tech|nurse|rn|signed|signature|author|dictated|transcribed"
    r"|transcriptionist|cc|pcp|from|to|contact|"
    r"emergency contact|next of kin|guardian|referring(?: physician| provider| doctor| md)?|ordering(?: physician"
    r"| provider| md)?|attn|attention|re|"
    r"interpreting physician|reviewed|verified|reported|performed|sonographer|witness|konsultan|sorumlu|danisman"
    r"|ekip|uzman|uzm|prof|acil durumda aranacak|"
    r"irtibat|iletisim|muhatap|anne|baba|es|mother|father|spouse|wife|husband|insured|subscriber|guarantor"
    r"|policy holder|sigortali)"
    r"(?:\s(?:by|adi|eden|doktor[u]?|hekim[i]?|kisi(?:si)?))?\s{0,3}[:=]\s{0,4}"
    r"|\b(?:signed|reported|dictated|reviewed|interpreted|verified|performed|transcribed|seen|examined|evaluated"
    r"|read|referred|ordered|approved|"
    r"authorized|accompanied|attested|finalized|cosigned|prepared|administered|entered|witnessed|requested|treated"
    r"|operated|managed|followed|assisted|brought in)\sby\s(?:our\s|his\s|her\s)?"
    r"|\b(?:discussed|spoken|spoke|communicated|consulted|accompanied|met|reviewed|verified|confirmed)\s(?:with|to|by)\s"
    r"(?:our\s|his\s|her\s)?"
    r"|\b(?:referred|seen|examined|evaluated|signed|read)\s(?:to|with|of)\s"
    r"|\b(?:care of|attn|dear|sevgili|imza|baby (?:boy|girl|of))\s"
)


def names(note: Note) -> Iterator[Finding]:
    """Names, without titles, kinship words and degrees, and without what follows an apostrophe."""
    reader = _Reader(note)
    for start, end in reader.spans():
        yield Finding(start, end, TextClass.NAME, "name")


class _Reader:
    """One pass over a note's words."""

    def __init__(self, note: Note) -> None:
        self.note = note
        self.words: Sequence[Word] = note.words
        roles = _roles()
        self.roles = [roles.get(word.plain, Role.NONE) or self._guess(word) for word in self.words]
        self.labels = self._label_ends()

    @staticmethod
    def _guess(word: Word) -> int:
        return _inflected(word.plain) if word.capital and len(word.plain) > 3 else Role.NONE

    def _label_ends(self) -> dict[int, bool]:
        """Where a label has just ended; whether it asks for a name and nothing else."""
        return {match.end(): match["name"] is not None for match in _LABEL.finditer(self.note.folded)}

    def spans(self) -> Iterator[tuple[int, int]]:
        at = 0
        while at < len(self.words):
            first, last = self._name_at(at)
            if last > first:
                yield self.words[first].start, self.words[last - 1].end
            at = max(at + 1, last)

    def _name_at(self, at: int) -> tuple[int, int]:
        """The first and after-last word of the name that begins at a word or after it; equal if there is none."""
        word, role = self.words[at], self.roles[at]
        if word.start in self.labels:
            first = self._past_titles(at)
            if (last := self._chain(first, told=True, any_case=self.labels[word.start])) > first:
                return first, last
        if role & Role.TITLE and (found := self._after_title(at)):
            return found
        if role & (Role.KIN | Role.PERSON) and (found := self._after_person(at)):
            return found
        if not word.capital and not role & _NAME:
            return at, at
        last = self._chain(at, told=self._before_title(at))
        return (at, last) if self._stands(at, last) else (at, at)

    def _past_titles(self, at: int) -> int:
        end = min(at + _MOST_TITLES, len(self.words) - 1)
        while at < end and self._is_title(at):
            at += 1
        return at

    def _is_title(self, at: int) -> bool:
        gap = self._gap(at)
        short = self.words[at].plain == "ar"  # "Ar. Gör.", but also a family name
        return bool(
            re.fullmatch(r"\.? {0,3}", gap)
            and (self.roles[at] & Role.TITLE or (short and self.roles[at + 1] & Role.TITLE))
        )

    def _after_title(self, at: int) -> tuple[int, int] | None:
        first = self._past_titles(at)
        if first >= len(self.words) or first == at:
            return None
        last_title = self.words[first - 1]
        sure = "." in self._gap(first - 1) or not (last_title.capitals and len(last_title.plain) < 4)
        sure = sure and (
            last_title.capital or last_title.plain in {"dr", "doktor", "nurse", "hemsire", "sayin", "doctor"}
        )
        if not sure and not self.roles[first] & _NAME:
            return None
        last = self._chain(first, told=True)
        return (first, last) if last > first else None

    def _after_person(self, at: int) -> tuple[int, int] | None:
        """A name after a kinship word, or after "patient", where an unknown word needs a second one."""
        first = at + 1
        if first >= len(self.words) or not re.fullmatch(r"(?: {1,2}|, |: | \(|'[a-z]{1,3} )", self._gap(at)):
            return None
        if self.roles[first] & Role.COMMON and not self.roles[at] & Role.KIN:
            return None  # "Patient May Resume Diet"
        if not self.words[first].capital or (self.words[at].capitals and not self.roles[first] & _NAME):
            return None
        last = self._chain(first, told=True)
        sure = bool(self.roles[at] & Role.KIN) or last - first > 1
        certain = self.roles[first] & _NAME and not self.roles[first] & _UNSURE
        return (first, last) if last > first and (sure or certain) else None

    def _before_title(self, at: int) -> bool:
        """Whether the run of capitalised words here ends in "Bey", "Hanım" and their like, or in "tarafından"."""
        for ahead in range(at, min(at + 4, len(self.words) - 1)):
            if self.roles[ahead] & _NEVER:
                return False
            if self._has_degree(ahead):
                return self.words[at].capital and (ahead > at or bool(self.roles[at] & _NAME))
            if self._gap(ahead) not in {" ", ". ", "-"}:
                return False
            following = self.words[ahead + 1]
            if self.roles[ahead + 1] & Role.AFTER and (
                following.plain not in _DEGREES or self.words[ahead + 1].capitals
            ):
                return self.words[at].capital or bool(self.roles[at] & Role.GIVEN)
            if following.plain in {"adli", "isimli", "tarafindan"}:
                return self.words[at].capital and (ahead > at or bool(self.roles[at] & _NAME))
        return False

    def _has_degree(self, at: int) -> bool:
        end = self.words[at].end
        degree = _DEGREE.match(self.note.folded, end, end + 16)
        return degree is not None and self.note.text[slice(*degree.span("degree"))][0].isupper()

    def _gap(self, at: int) -> str:
        """What stands between a word and the next."""
        return self.note.folded[self.words[at].end : self.words[at + 1].start][:6]

    def _chain(self, first: int, *, told: bool, any_case: bool = False) -> int:
        """One past the last word of a name whose first word is given."""
        last = first
        family = known = False
        while last < len(self.words) and last - first < 6 and self._goes_on(last, first, told, known, family, any_case):
            role = self.roles[last]
            known = known or bool(role & _NAME)
            family = family or (last > first and bool(role & Role.FAMILY and not role & Role.GIVEN))
            last += 1
            if last < len(self.words) and not self._joined(last - 1, told or known):
                break
        while last > first and self.roles[last - 1] & Role.PARTICLE and not self.roles[last - 1] & _NAME:
            last -= 1
        return last

    def _joined(self, at: int, known: bool) -> bool:
        gap = self._gap(at)
        if gap in {" ", "-"}:
            return True
        word = self.words[at]
        if gap in {". ", "."}:
            return len(word.plain) == 1
        if gap == "'":
            return word.plain in {"o", "d"} and self.words[at + 1].capital
        if gap in {", ", ","}:
            following = self.roles[at + 1]
            return bool(
                known
                and self.roles[at] & (Role.FAMILY | Role.EPONYM)
                and (following & Role.GIVEN or self._is_capitals_with_initial(at + 1))
                and not following & _NEVER
                and (at == 0 or not self.roles[at - 1] & Role.GIVEN or not self._gap(at - 1).isspace())
            )
        return False

    def _is_capitals_with_initial(self, at: int) -> bool:
        """Whether an unknown word is the second of "HENDERSON, MARYBETH L."."""
        if not (self.words[at - 1].capitals and self.words[at].capitals) or self.roles[at]:
            return False
        return at + 1 < len(self.words) and self._gap(at) == " " and len(self.words[at + 1].plain) == 1

    def _goes_on(self, at: int, first: int, told: bool, known: bool, family: bool, any_case: bool) -> bool:
        """Whether a word is the next part of a name."""
        word, role = self.words[at], self.roles[at]
        if len(word.plain) == 1:
            return word.capital and (told or known or at == first) and self._is_initial(at, first)
        if role & _NEVER and not self._is_name_all_the_same(at, first, told):
            return False
        if role & Role.EPONYM and self._before_disease(at):
            return False
        if not word.capital:
            if role & Role.PARTICLE and (told or at > first):
                return at + 1 < len(self.words) and (
                    self.words[at + 1].capital or bool(self.roles[at + 1] & Role.PARTICLE)
                )
            return any_case or bool(
                role & _NAME and (not role & (Role.AMBIGUOUS if told else _UNSURE) or (told and at > first))
            )
        if at == first:
            return told or bool(role & _NAME) or self._is_unknown_name(at)
        if role & _NAME:
            return True
        return told or (not (family or (word.capitals and role == Role.NONE and family)) and self._may_be_family(at))

    def _is_name_all_the_same(self, at: int, first: int, told: bool) -> bool:
        """Whether a word that is usually none is a part here: a given name after a title, "Ateş" after a given name."""
        word, role = self.words[at], self.roles[at]
        if at == first:
            told = told and word.capital and not role & (Role.TITLE | Role.AFTER)
            return told and bool(role & _NAME) and not (word.capitals and not role & Role.GIVEN)
        return bool(role & Role.FAMILY) and word.capital and not word.capitals and bool(self.roles[at - 1] & Role.GIVEN)

    def _may_be_family(self, at: int) -> bool:
        """Whether an unknown word after a given name is written like a family name."""
        word = self.words[at]
        return word.capital and len(word.plain) > 2 and (not word.capitals or not self._before_disease(at))

    def _is_initial(self, at: int, first: int) -> bool:
        if at + 1 == len(self.words):
            return at > first
        gap = self._gap(at)
        return gap.startswith(".") or (gap == "'" and self.words[at].plain in {"o", "d"}) or (at > first and gap == " ")

    def _before_disease(self, at: int) -> bool:
        end = self.words[at].end
        return bool(_DISEASE.match(self.note.folded, end, end + _STOP_AFTER_DISEASE))

    def _stands(self, first: int, last: int) -> bool:
        """Whether words without a title or label beside them are a name."""
        if last <= first:
            return False
        if self._before_title(first):
            return True
        parts = [self.roles[at] for at in range(first, last) if len(self.words[at].plain) > 1]
        known = [role for role in parts if role & _NAME]
        if not known:
            return len(parts) > 1 and not self._begins_sentence(first) and not self._before_disease(last - 1)
        sure = [role for role in known if not role & _UNSURE]
        if all(role & Role.EPONYM for role in parts):
            return last - first > len(parts) and not self._before_disease(last - 1)
        if not self.words[first].capital:
            return (
                len(parts) > 1
                and len(sure) == len(parts)
                and bool(parts[0] & Role.GIVEN)
                and bool(parts[-1] & Role.FAMILY)
            )
        if len(parts) == 1:
            initials = last - first > 1
            return bool(initials or (sure and not self._before_disease(first) and not parts[0] & Role.COMMON))
        if sure:
            hyphened = self._gap(last - 2) == "-"
            return not (hyphened and self._before_disease(last - 1))
        if not parts[0] & Role.GIVEN or self._before_disease(last - 1):
            return False
        unknown = not parts[-1] and not self.words[last - 1].capitals
        return bool(parts[-1] & Role.FAMILY) or unknown

    def _is_unknown_name(self, at: int) -> bool:
        """Whether an unknown capitalised word stands before a usual family name."""
        if at + 1 >= len(self.words) or self.words[at].capitals or self.roles[at] != Role.NONE:
            return False
        following = self.roles[at + 1]
        return (
            self._gap(at) == " "
            and self.words[at + 1].capital
            and not self.words[at + 1].capitals
            and bool(following & Role.FAMILY or (following == Role.NONE and not self._begins_sentence(at)))
            and not following & (_NEVER | _UNSURE)
            and not self._before_disease(at + 1)
        )

    def _begins_sentence(self, at: int) -> bool:
        return at == 0 or not re.fullmatch(r"[,;(]? ", self._gap(at - 1))


_DEGREE: Final = re.compile(
    r",? (?P<degree>m\.?d\b|ph\.?d\b|r\.?n\b|d\.o\.|do\b(?=[,.;)\n]|$)|n\.?p\b|pa-c\b|pa\b|p\.a\.|rt\b|rdms\b"
    r"|lcsw\b|crna\b|mbbs\b|frcr\b|facr\b|facs\b|dpt\b|pt\b|aprn\b|cnm\b|pharmd\b)"
)
_DEGREES: Final = frozenset(
    ["jr", "md", "phd", "rn", "do", "np", "pa", "frcr", "facr", "faca", "facs", "crnp", "dds", "bsn", "msw", "lcsw"]
)
