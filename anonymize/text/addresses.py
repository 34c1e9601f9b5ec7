"""Addresses smaller than a province or state: Turkish quarters, streets, doors, districts and villages; US streets and
cities.

A word for a kind of place ("Mah.", "Street") with the capitalised words before it begins an address; what goes on
from there (number, flat, quarter, district/province) belongs to it. A postal code is another recognizer's and
divides it.
"""

import re
from collections.abc import Iterator
from typing import Final

from anonymize.text.finding import Finding, Note, TextClass, capitals_before, table
from anonymize.text.numbers import PROVINCE, STATE
from anonymize.text.roles import NAME, NEVER, Role, role_of

_NO_PLACE: Final = NEVER | Role.VOCABULARY

_KINDS_TR: Final = (
    r"(?:mh\.|mah(?:\.|\b)(?!\s?no)|mahallesi|mahalle\b|cad(?:\.|\b)|cd\.|caddesi|sok(?:\.|\b)|sk\.|sokak|sokagi"
    r"|bulvari"
    r"|bulv?\.|blv\.?|apt\.|apartmani|apt\b(?!\s?#?\d)|sitesi|"
    r"koyu|beldesi|beldesinde|ilcesi|kasabasi|meydani|cikmazi|mevkii|konutlari|evleri|plaza\b|is hani|lojmanlari"
    r"|bucagi|yaylasi|mezrasi)"
)
_ENDING: Final = r"(?:[ny]?(?:de|da|nde|nda|den|dan|nden|ndan|ne|na|nin|e|a|i|te|ta|tan|ten|n))?"
_KIND_TR: Final = re.compile(rf"(?<![a-z]){_KINDS_TR}{_ENDING}(?![a-z])")
_DOOR: Final = (
    r"(?:(?:dis |ic )?(?:kapi )?(?:no|numara|nu)\s?[.:]{0,2}\s?[\da-z]{1,4}(?:\s?[/-]\s?[a-z\d]{1,4}){0,2}"
    r"|(?:daire|d|kat|k|blok|bl|bina|da)\s?(?:no)?[.:]{0,2}\s?\d{1,3}(?:\s?[/-]\s?[a-z\d]{1,4})?"
    r"|[a-z\d]{1,2}\.?[ -]?(?:blok|bl\.|kat|daire)|\d{1,4}(?:\s?[/-]\s?[a-z\d]{1,4}){0,2})(?![\w])"
)
_STREET: Final = rf"(?:[a-z\d'-]{{2,20}}\.? ){{1,4}}?{_KINDS_TR}{_ENDING}(?![a-z])"
_MORE: Final = re.compile(
    rf"[ ,.;/\n-]{{0,3}}(?:{_STREET}|{_DOOR}|(?:[a-z]{{3,20}}(?: [a-z]{{3,20}})?\s?[/, -]\s?)?{PROVINCE}(?![a-z])"
    rf"|[a-z]{{3,20}}\s?/\s?[a-z]{{3,20}}(?![a-z]))"
)
_DISTRICT_LAST: Final = re.compile(r"(?<=[\da-z]),?\s(?P<district>[a-z]{3,20})(?=[.,;'\n)]|\s?$)")
_NUMBER_BEFORE: Final = re.compile(r"(?:\d{1,5}[./]?(?:\s?\d{1,4}\.)?\s?)$")
_DISTRICT_PROVINCE: Final = re.compile(
    rf"(?<![a-z])(?P<district>[a-z]{{2,20}})\s?[/,]\s?(?P<province>{PROVINCE})(?![a-z])"
)

_SUFFIXES_US: Final = (
    r"street|st\b\.?|avenue|ave\b\.?|road|rd\b\.?|boulevard|blvd\b\.?|lane|ln\b\.?|drive|dr\b\.?|court|ct\b\.?"
    r"|place|pl\b\.?|terrace|ter\b\.?|way|"
    r"parkway|pkwy\b\.?|circle|cir\b\.?|highway|hwy\b\.?|square|sq\b\.?|trail|trl\b\.?|loop|alley|crescent|close"
    r"|row|walk|pike|turnpike|plaza|heights|crossing|mews|gardens|grove|path|bend|trace|commons|point|landing"
)
_UNIT_US: Final = (
    r"(?:,?\s{0,2}(?:apt|apartment|suite|ste|unit|floor|fl|room|rm|bldg|building|#"
    r"|lot)\.?\s?#?\s?[a-z]?\d{0,5}[a-z]?\b)?"
)
_CITY: Final = r"[a-z][a-z'-]{1,20}(?:\.? [a-z][a-z'-]{1,20}){0,2}"
_CITY_STATE: Final = rf"(?:,?\s{{1,2}}(?:in\s)?(?P<city>{_CITY})(?:,\s?(?P<state>{STATE})(?![a-z]))?)?"
_US: Final = re.compile(
    rf"(?<![\w.,/-])\d{{1,6}}[a-z]?(?:-\d{{1,4}})?\s(?:[nsew]{{1,2}}\.?\s|north\s|south\s|east\s"
    rf"|west\s)?(?:[a-z\d][a-z\d'-]{{0,20}}\.? ){{1,4}}?"
    rf"(?P<kind>{_SUFFIXES_US})(?![a-z])(?:\s[nsew]{{1,2}}\b\.?)?{_UNIT_US}"
)
_TAIL: Final = re.compile(
    rf"(?:,\s?|\s|\n)(?P<city>{_CITY}),?\s(?P<state>{STATE})(?![a-z\d])"
    rf"|,\s?(?P<only>{_CITY})(?=\s*[,.;\n]|$|\s[a-z]{{1,2}}\d)|\sin\s(?P<town>{_CITY})(?=\s*[,.;\n]|$)"
)
_UNIT_BEFORE: Final = re.compile(r"(?<![a-z])(?:apt|apartment|unit|suite|flat|no)\.? ?#?[a-z]?\d{1,5}[a-z]?,? $")
_SMALL_STREET: Final = re.compile(
    r"(?<![\w'])(?P<name>[a-z]{3,20}) (?:mah\.?|mahallesi|cad\.?|caddesi|sok\.?|sokak|sokagi|bulvari)"
    r" (?=\d|no\b|[a-z]{3,20} (?:cad|so?k))"
)
_DOCTOR: Final = re.compile(r"\.? ?[^\W\d_a-zçğıöşü]")
_ROUTE: Final = re.compile(r"\b(?:Route|Rte\.?|Highway|Hwy\.?|Interstate) \d{1,3}[A-Z]?\b")
_NAMED_STREET: Final = re.compile(
    r"(?<![a-z])(?:street|avenue|road|boulevard|lane|drive|court|terrace|parkway|highway|blvd|ave|rd|turnpike"
    r"|cottages?|farmhouse|lodge|manor|trailer park|county|township|village|borough)(?![a-z])"
)
_CITY_IN_STATE: Final = re.compile(rf"(?<![a-z]){_CITY}, (?P<state>{STATE})(?![a-z])\.?")
_PLACE_AROUND: Final = re.compile(r"\b(?:in|from|of|at|near|to)\s\||\|\.? \d{5}")  # else MD and PA are degrees
_PO_BOX: Final = re.compile(
    r"\bp\.?\s?o\.?\s?box\s?#?\d{1,7}\b|\b(?:rr \d{1,3},? box \d{1,5}"
    r"|rural route \d{1,3}(?:,? box \d{1,5})?)\b|\bp\.?k\.? ?:? ?\d{1,6}(?= )"
)
_CAPITALISED: Final = r"[A-Z][A-Za-z'-]{1,20}(?: [A-Z][A-Za-z'-]{1,20}){0,3}"
_BEFORE_POSTCODE: Final = re.compile(
    rf"(?:(?:Flat|Unit|Apartment) \d{{1,4}}[A-Za-z]?, "
    rf"|(?<!\w)\d{{1,4}}[A-Za-z]? )?(?<![\w'-])(?:{_CAPITALISED}, ){{0,4}}{_CAPITALISED}"
    r",?(?= [A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}(?!\w))"
)
# A place by what is said of it, a word that is no usual name and not in the vocabulary: "lives in Millbrook".
_LIVES: Final = (
    r"\b(?:(?:liv(?:es?|ed|ing)|resid(?:es?|ed|ing)|born|raised|grew up|works?|worked|staying|home|house|farm"
    r"|school|clinic"
    r"|church|shelter|retired|based|resident|native|town|village|moved|travell?ed|drove|comes?|came"
    r"|transferred|flew|going"
    r"|(?:daughters?|sons?|wife|husband|parents|sister|brother|partner|roommate|driver|teacher|farmer)"
    r"(?=\s(?:in|from)\b)"
    r"|mother|family|referred)\s)?"
)
_IN_PLACE: Final = re.compile(rf"{_LIVES}\b(?P<how>in|from|near|outside|of|to)\s(?P<place>{_CITY})(?![a-z'-])")
_TOWN: Final = re.compile(
    r"[a-z]*(?:ton|ville|burgh?|bury|field|ford|brooke?|by|ham|worth|port|haven|dale|shire|creek|springs|falls"
    r"|mouth|stead"
    r"|bridge|view|wick|chester|boro|borough|town|ridge|minster|hurst|combe|thorpe|water|bluff|bay|hollow"
    r"|heights|corners)"
)
_BEFORE_TOWN: Final = re.compile(
    "upper|lower|north|south|east|west|new|old|great|little|big|port|fort|mount|lake|saint|st|santa|san|el|la|los|las"
)

_TURKISH_PLACE: Final = re.compile(
    r"(?<![a-z])(?P<place>[a-z]{3,20})'n?[dt][ae]n?\s(?=(?:[a-z]{2,15}\s){0,2}(?:gel|otur|yas[ai]|ikamet|don"
    r"|tasin|kal|calis|dog))"
    r"|\b(?:dogum yeri|memleketi|memleket|ikametgahi?|ikamet|ilcesi|koyu"
    r"|yasadigi yer)\s?:?\s(?P<named>[a-z]{3,20}(?!\w))"
)


def addresses(note: Note) -> Iterator[Finding]:
    """Addresses and places smaller than a province or state."""
    for start, end in (*_turkish(note), *_small_turkish(note), *_american(note), *_places(note)):
        yield Finding(start, end, TextClass.ADDRESS, "address")


def _turkish(note: Note) -> Iterator[tuple[int, int]]:
    done = 0
    for match in _KIND_TR.finditer(note.folded):
        if match.start() < done:
            continue
        start = capitals_before(note, match.start(), 3)
        if number := _NUMBER_BEFORE.search(note.folded, max(0, start - 12), start):
            start = number.start()
        if start == match.start():
            continue
        if match[0].startswith("ilcesi"):  # no part of the district's name
            yield start, match.start() - 1
            continue
        done = _onward(note, match.end())
        yield start, done


def _small_turkish(note: Note) -> Iterator[tuple[int, int]]:
    """Addresses typed in small letters: a quarter or street, and a number after it."""
    done = 0
    for match in _SMALL_STREET.finditer(note.folded):
        role = role_of(match["name"], capital=True)
        if match.start() >= done and not role & _NO_PLACE and note.text[match.start()].islower():
            done = _onward(note, match.end())
            yield match.start(), done


def _onward(note: Note, end: int) -> int:
    """Where an address ends that goes on from here."""
    for _ in range(12):
        more = _MORE.match(note.folded, end)
        if not more or more.end() == end or not _is_place(note.text[end : more.end()]):
            break
        end = more.end()
    last = _DISTRICT_LAST.match(note.folded, end)
    if last and _may_be_place(note, *last.span("district")):
        return last.end("district")
    return end


def _may_be_place(note: Note, start: int, end: int) -> bool:
    """Whether a word is written like a place and is not known to be something else."""
    plain = note.folded[start:end]
    if not note.text[start].isupper():
        return False
    return plain in table("places") or not role_of(plain, capital=True) & _NO_PLACE


def _is_place(text: str) -> bool:
    """Whether what was matched without regard to case begins like a name, or is a door's number."""
    words = re.findall(r"[^\W\d_]{3,}", text)
    return not words or words[0][0].isupper() or bool(re.search(r"\d", text))


def _american(note: Note) -> Iterator[tuple[int, int]]:
    for match in _US.finditer(note.folded):
        if not _names_a_street(note, match):
            continue
        unit = _UNIT_BEFORE.search(note.folded, max(0, match.start() - 20), match.start())
        yield unit.start() if unit else match.start(), _with_city(note, match.end())
    for match in _NAMED_STREET.finditer(note.folded):
        start = capitals_before(note, match.start(), 3)
        if start < match.start() and note.text[match.start()].isupper():
            yield start, _with_city(note, match.end())
    for match in _ROUTE.finditer(note.text):
        yield match.span()
    for match in _PO_BOX.finditer(note.folded):
        yield match.start(), _with_city(note, match.end())
    for match in _BEFORE_POSTCODE.finditer(note.text):
        yield match.span()


def _with_city(note: Note, end: int) -> int:
    """Where an address ends that a city and state may follow."""
    tail = _TAIL.match(note.folded, end)
    if not tail:
        return end
    first = next(tail.start(name) for name in ("city", "only", "town") if tail[name])
    return tail.end() if note.text[first].isupper() else end


def _names_a_street(note: Note, match: re.Match[str]) -> bool:
    """Whether the word before "Street" is capitalised, as a name is, or a number ("5th Ave"); "Dr. A" is a doctor."""
    if match["kind"].startswith("dr") and "i" not in match["kind"] and _DOCTOR.match(note.text, match.end("kind")):
        return False
    before = note.text[match.start() : match.start("kind")].rstrip(" .").rsplit(" ", 1)[-1]
    if match["kind"] in {"ave", "blvd", "st"} and re.match(
        r"\d{3,5} [a-z]{3,20} ", note.folded[match.start() : match.end()]
    ):
        return True
    return before[:1].isupper() or before[:1].isdigit() or match["kind"] in {"street", "avenue", "road", "lane"}


def _places(note: Note) -> Iterator[tuple[int, int]]:
    for match in _DISTRICT_PROVINCE.finditer(note.folded):
        pain = match["province"] == "agri" and "/" not in match[0]
        if note.text[match.start()].isupper() and match["district"] not in table("common") and not pain:
            yield match.span()
    for match in _CITY_IN_STATE.finditer(note.folded):
        start = capitals_before(note, match.start("state") - 2, 3, gap=", ")
        state = note.text[match.start("state") : match.end("state")]
        doubtful = match["state"] in {"md", "pa", "ma"} and not _PLACE_AROUND.search(
            note.folded[max(0, start - 8) : start] + "|" + note.folded[match.end() : match.end() + 7]
        )
        if (
            start < match.start("state") - 2
            and not doubtful
            and (state.isupper() if len(state) == 2 else state[0].isupper())
        ):
            yield start, match.end("state")
    for match in _TURKISH_PLACE.finditer(note.folded):
        start, end = match.span("place" if match["place"] else "named")
        if _may_be_place(note, start, end) and not role_of(note.folded[start:end], capital=True) & NAME:
            yield start, end
    for match in _IN_PLACE.finditer(note.folded):
        if end := _end_of_place(note, match):
            yield match.start("place"), end
    for word in note.words:
        if word.capital and word.plain in table("places"):
            yield word.start, word.end


def _end_of_place(note: Note, match: re.Match[str]) -> int:
    """Where a place's name ends that follows "in" or "from": 0 if what follows is none."""
    low = match.start("place")
    lives = match.start("how") > match.start()
    end = unknown = 0
    for word in re.finditer(r"[a-z'-]+", match["place"]):
        start, stop = low + word.start(), low + word.end()
        role = role_of(word[0], capital=True)
        town = bool(_TOWN.fullmatch(word[0]))
        if (
            not note.text[start].isupper()
            or note.text[start:stop].isupper()
            or (role & (NEVER | NAME) and not town and not _BEFORE_TOWN.fullmatch(word[0]))
        ):
            break
        two = end and word[0] in table("second_of_town")
        if (two or role == Role.NONE) and (lives or town or match["how"] in {"from", "near", "outside"}):
            unknown = 1
        end = stop
    return end if unknown and not (match["how"] in {"of", "to"} and not lives) else 0
