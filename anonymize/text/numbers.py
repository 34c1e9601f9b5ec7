"""Numbers and addresses of the net that name a person: national, tax, bank, passport, plate, record numbers, e-mail,
URL, IP.

A number with check digits is taken for what those prove; one without, or with wrong ones, only by the words before
it. A bare number never is: a report is full of measurements.
"""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from stdnum import iban, luhn
from stdnum.tr import tckimlik

from anonymize.text.finding import Finding, Note, TextClass, table
from anonymize.text.roles import is_in_use

_EMAIL: Final = re.compile(
    r"(?<![\w.+-])[\w+%-](?:[\w.+%'-]{0,63})\s?@\s?(?:[a-z0-9](?:[a-z0-9-]{0,62})\.){1,8}[a-z]{2,24}(?![\w-])"
)
_DOT: Final = re.compile(r" [(\[]?(?:dot|nokta)")
_SPELT_EMAIL: Final = re.compile(  # "jsmith at example dot org"
    r"(?<![\w.+-])[a-z0-9][\w.+-]{1,40} (?:at|\(at\)|\[at\]) [a-z0-9-]{2,40}"
    r" (?:dot|nokta|\(dot\)|\[dot\]) [a-z]{2,6}(?!\w)"
)
_URL: Final = re.compile(
    r"""(?:\b(?:https?|ftps?|sftp)://|\bwww\.)[^\s<>"'()]{2,2000}"""
    r"""|(?<![\w@.-])(?:[a-z0-9][a-z0-9-]{0,62}\.){1,6}(?:com|org|net|edu|gov|bel|info|io|health|tr|uk|de)"""
    r"""(?:\.[a-z]{2,3})?(?![\w@-]|\.\w)(?:/[^\s<>"'()]{0,2000})?"""
)
_IPV4: Final = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d]|\.\d)")
_IPV6: Final = re.compile(r"(?<![\w:.])[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?![\w:])")
_VERSION_BEFORE: Final = re.compile(r"\b(?:v|ver|version|surum|versiyon|yazilim|software|firmware|uid|oid)[.:]?\s?$")


def emails(note: Note) -> Iterator[Finding]:
    """Addresses of mailboxes."""
    if "@" in note.folded:
        for match in _EMAIL.finditer(note.folded):
            yield Finding(*match.span(), TextClass.EMAIL, "email")
    for match in _SPELT_EMAIL.finditer(note.folded) if _DOT.search(note.folded) else ():
        yield Finding(*match.span(), TextClass.EMAIL, "email, spelt")


def urls(note: Note) -> Iterator[Finding]:
    """Addresses with a scheme or `www.`, and bare host names of the usual top-level domains."""
    for match in _URL.finditer(note.folded):
        end = match.end()
        while note.folded[end - 1] in ".,;:!?":
            end -= 1
        yield Finding(match.start(), end, TextClass.URL, "url")


def ips(note: Note) -> Iterator[Finding]:
    """IPv4 and IPv6 addresses; a version number of four parts is none."""
    for match in _IPV4.finditer(note.folded):
        before = note.folded[max(0, match.start() - 12) : match.start()]
        if _is_address(match[0]) and not _VERSION_BEFORE.search(before):
            yield Finding(*match.span(), TextClass.IP, "ipv4")
    if "::" in note.folded or note.folded.count(":") > 6:
        for match in _IPV6.finditer(note.folded):
            if len(match[0]) > 5 and _is_address(match[0]):
                yield Finding(*match.span(), TextClass.IP, "ipv6")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


_IBAN: Final = re.compile(r"(?<![a-z0-9])[a-z]{2}\d{2}(?:[ -]?[a-z0-9]{4}){2,7}(?:[ -]?[a-z0-9]{1,3})?(?![a-z0-9])")
_IBAN_CONTEXT: Final = re.compile(r"\biban\b[^\n]{0,16}$")


def ibans(note: Note) -> Iterator[Finding]:
    """Bank accounts by ISO 13616: with right check digits, Turkish ones (26 characters) and those called IBAN with
    wrong ones too.
    """
    for match in _IBAN.finditer(note.folded):
        compact = match[0].replace(" ", "").replace("-", "").upper()
        turkish = compact.startswith("TR") and len(compact) == 26 and compact[2:].isdigit()
        before = note.folded[max(0, match.start() - 24) : match.start()]
        if turkish or iban.is_valid(compact) or _IBAN_CONTEXT.search(before):
            yield Finding(*match.span(), TextClass.IBAN, "iban")


# What may stand between a word that announces a number and the number.
_BETWEEN: Final = (
    r"(?:\s{0,2}(?:no|nosu|num|numarasi|numarali|number|num|nr|id|is|was|of|olan|ise)\b(?:'[a-z]{1,4})?){0,3}"
    r"\s{0,3}[:=#(.,-]{0,3}\s{0,3}"
)

_ELEVEN: Final = re.compile(
    r"(?<![\d.,])[1-9]\d{2}[ .-]?\d{3}[ .-]?\d{3}[ .-]?\d{2}(?!\d|[.,]\d)|(?<![\d.,])\d(?:[ -]?\d){9,11}(?!\d|[.,]\d)"
)
_TCKN_CONTEXT: Final = re.compile(
    r"(?:\bt\.?\s?c\b\.?|(?<!vergi )\bkimlik|\btckn?\b|\btc\s?no|vatandaslik|national id|citizenship|identity (?:no"
    r"|number))[^\n;]{0,28}$"
)


_TELEPHONE_BEFORE: Final = re.compile(r"\b(?:tel|telefon|gsm|cep|phone|fax|faks)\b[^\d]{0,12}$")


def tckns(note: Note) -> Iterator[Finding]:
    """Turkish citizens' and foreigners' numbers: eleven digits with right check digits, or with wrong ones after a
    word that announces such a number (a slip of the pen is still the patient's).
    """
    for match in _ELEVEN.finditer(note.folded):
        digits = re.sub(r"\D", "", match[0])
        before = note.folded[max(0, match.start() - 40) : match.start()]
        announced = _TCKN_CONTEXT.search(before) and not _TELEPHONE_BEFORE.search(before)
        if announced or (len(digits) == 11 and tckimlik.is_valid(digits)):
            yield Finding(*match.span(), TextClass.TCKN, "tckn, announced" if announced else "tckn, check digits")


_VKN: Final = re.compile(
    r"\b(?:vkn|vergi(?:\s(?:kimlik|dairesi(?:\sve)?|levhasi|sicil))?|v\.\s?k\.\s?n"
    r"|tax(?:payer)?(?:\sid(?:entification)?)?)\b"
    r"[^\d\n]{0,30}(?P<number>\d{3}[ .-]?\d{3}[ .-]?\d{4})(?!\d)"
)


def vkns(note: Note) -> Iterator[Finding]:
    """Turkish tax numbers, by the words before them."""
    for match in _VKN.finditer(note.folded):
        yield Finding(*match.span("number"), TextClass.VKN, "vkn")


_SSN: Final = re.compile(
    r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])"
    r"|(?:\bssn\b|\bss(?=\s?[#:])|\bsocial\s?(?:security\b|(?=[:#]))"
    r"|\bs\.s\.n\b)[^\d\n]{0,30}(?P<number>[\dx*]{3}[ .-]?[\dx*]{2}[ .-]?\d{4}"
    r"|\d{4})(?!\d)"
    r"|\blast\s(?:four|4)(?:\sdigits)?(?:\sof\s(?:his|her|the)?\s?(?:ssn|social))?(?:\sare"
    r"|\sis)?[: ]{1,2}(?P<last>\d{4})(?!\d)"
)


def ssns(note: Note) -> Iterator[Finding]:
    """US social security numbers in their written form; without dashes, or the last four alone, by the words before
    them.
    """
    for match in _SSN.finditer(note.folded):
        which = next((name for name in ("number", "last") if match[name]), 0)
        yield Finding(*match.span(which), TextClass.SSN, "ssn")


_STATES: Final = (
    "al|ak|az|ar|ca|co|ct|de|fl|ga|hi|id|il|in|ia|ks|ky|la|me|md|ma|mi|mn|ms|mo|mt|ne|nv|nh|nj|nm|ny|nc|nd|oh|ok|or|pa|ri|sc|"
    "sd|tn|tx|ut|vt|va|wa|wv|wi|wy|dc|pr"
)
_STATE_NAMES: Final = (
    "alabama|alaska|arizona|arkansas|california|colorado|connecticut|delaware|florida|georgia|hawaii|idaho|illinois|indiana|"
    "iowa|kansas|kentucky|louisiana|maine|maryland|massachusetts|michigan|minnesota|mississippi|missouri|montana|nebraska|"
    "nevada|new hampshire|new jersey|new mexico|new york|north carolina|north dakota|ohio|oklahoma|oregon|pennsylvania|"
    "rhode island|south carolina|south dakota|tennessee|texas|utah|vermont|virginia|washington|west "
    "virginia|wisconsin|wyoming"
)
STATE: Final = rf"(?:{_STATES}|{_STATE_NAMES})"
_ZIP: Final = re.compile(
    rf"\b(?P<state>{STATE})\.?,?\s{{1,2}}(?P<number>\d{{5}}(?:-\d{{4}})?)(?![\d-]|[.,]\d)"
    r"|(?<![\d-])(?P<before>\d{5}(?:-\d{4})?)\s(?:zip|postal code)\b"
    r"|\b(?:zip|postal|post|posta|pk)(?:\s?-?(?:code|kodu"
    r"|kod))?\b[^\d\n]{0,12}?(?P<named>\d{5}(?:-\d{4})?)(?!\d|[.,]\d)"
)
PROVINCE: Final = rf"(?:{'|'.join(sorted(table('provinces'), key=lambda name: (-len(name), name)))})"
_TURKISH_ZIP: Final = re.compile(
    rf"(?<![\d.,])(?P<number>(?:0[1-9]|[1-7]\d|8[01])\d{{3}})(?=,?\s{{1,2}}(?:[a-z]{{3,20}}\s?[/,-]\s?)?{PROVINCE}\b)"
)
_ZIP_AFTER_PROVINCE: Final = re.compile(
    rf"[a-z]{{3,20}}\s?[/,-]\s?{PROVINCE},?\s{{1,2}}(?P<number>(?:0[1-9]|[1-7]\d|8[01])\d{{3}})(?![\d]|[.,/]\d)"
)
_ZIP_BEFORE_QUARTER: Final = re.compile(
    r"(?<![\d.,])(?P<number>(?:0[1-9]|[1-7]\d|8[01])\d{3})(?=\s[a-z]{3,20},?\s[a-z]{3,20}"
    r"(?:\s[a-z]{3,20})?\smah(?:\.|al))"
)
_ZIP_BEFORE_DISTRICT: Final = re.compile(
    r"(?<![\d.,])(?P<number>(?:0[1-9]|[1-7]\d|8[01])\d{3}),?\s(?P<district>[a-z]{3,20})(?![a-z])"
)
_CANADIAN_ZIP: Final = re.compile(r"(?<![\w-])[ABCEGHJ-NPRSTVXY]\d[A-Z] \d[A-Z]\d(?![\w-])")
_BRITISH_ZIP: Final = re.compile(r"(?<![\w-])[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}(?![\w-])")


def zips(note: Note) -> Iterator[Finding]:
    """Postal codes: after a US state, before a Turkish district or province, or called one."""
    for match in _ZIP.finditer(note.folded):
        state = match["state"]
        if state and len(state) == 2 and not note.text[slice(*match.span("state"))].isupper():
            continue
        which = "number" if state else "before" if match["before"] else "named"
        yield Finding(*match.span(which), TextClass.ZIP, "zip")
    for pattern in (_TURKISH_ZIP, _ZIP_AFTER_PROVINCE, _ZIP_BEFORE_QUARTER):
        for match in pattern.finditer(note.folded):
            yield Finding(*match.span("number"), TextClass.ZIP, "turkish zip")
    for match in _ZIP_BEFORE_DISTRICT.finditer(note.folded):
        if match["district"] in table("places") and note.text[match.start("district")].isupper():
            yield Finding(*match.span("number"), TextClass.ZIP, "turkish zip")
    for match in _CANADIAN_ZIP.finditer(note.text):
        yield Finding(*match.span(), TextClass.ZIP, "canadian postal code")
    for match in _BRITISH_ZIP.finditer(note.text):
        yield Finding(*match.span(), TextClass.ZIP, "british postcode")


_PLATE: Final = re.compile(
    r"(?<![\w.,/:-])(?:0[1-9]|[1-7]\d|8[01])(?P<gap>[ -]?)(?P<letters>[a-z]{1,3})[ -]?(?P<digits>\d{2,5})(?![\w]"
    r"|[.,]\d|\s?(?:mg|ml|mm|cm|gr|iu)\b)"
)
_PLATE_CONTEXT: Final = re.compile(r"\b(?:plaka|arac|otomobil|license plate|plate)[^\n]{0,30}$|^[^\n]{0,16}\bplaka")
_PLATE_LENGTHS: Final = {1: (4, 5), 2: (3, 4), 3: (2, 3)}
_ANNOUNCED_PLATE: Final = re.compile(
    r"\b(?:(?:license|licence|number|registration|vehicle|car|index)\s?)?(?:plates?|tag|registration|plaka)\b"
    r"(?:\s(?:no|number|is|was|reads?|of|reading|:))?[ :#]{0,3}"
    rf"(?:{STATE}\s)?(?P<number>(?=[a-z0-9 -]{{0,9}}\d)(?=[a-z0-9 -]{{0,9}}[a-z])[a-z0-9]{{1,4}}[ -]?[a-z0-9]{{2,5}}"
    r"|\d{1,2}[a-z]{3}\d{1,4}|[a-z0-9]{5,8}(?<=\d))(?!\w)"
)
_FOREIGN_PLATE: Final = re.compile(
    r"(?<![\w-])(?:[A-Z]{2}\d{2} ?[A-Z]{3}|[A-Z]{2,3}[ -]\d{3,4}|\d{3}[ -][A-Z]{3}|\d[A-Z]{3}\d{3})(?![\w-])"
)
_VEHICLE: Final = re.compile(
    r"\b(?:car|truck|van|vehicle|sedan|suv|pickup|lorry|motorcycle|motorbike|bike|bus|plated|plates?|crash"
    r"|collision|mvc|mva"
    r"|hit.and.run|arac|otomobil|kamyon|minibus|motosiklet|plaka(?:li|si)?)\b"
)


def plates(note: Note) -> Iterator[Finding]:
    """Turkish number plates by their form (traffic regulation, 34 A 1234 to 34 ABC 123), in capitals or after a word
    for the car; other plates by such a word.
    """
    for match in _PLATE.finditer(note.folded):
        letters = note.text[slice(*match.span("letters"))]
        near = note.folded[max(0, match.start() - 40) : match.start()]
        announced = _PLATE_CONTEXT.search(near) or re.match(
            r"[^\n.]{0,3}plaka", note.folded[match.end() : match.end() + 10]
        )
        usual = len(match["digits"]) in _PLATE_LENGTHS[len(match["letters"])]
        if announced or (usual and letters.isupper() and match["gap"] == " "):
            yield Finding(*match.span(), TextClass.PLATE, "plate")
    for match in _ANNOUNCED_PLATE.finditer(note.folded):
        if note.text[slice(*match.span("number"))].isupper():
            yield Finding(*match.span("number"), TextClass.PLATE, "plate, announced")
    for match in _FOREIGN_PLATE.finditer(note.text):
        around = note.folded[max(0, match.start() - 60) : match.end() + 30]
        if _VEHICLE.search(around):
            yield Finding(*match.span(), TextClass.PLATE, "plate beside a vehicle")


_PASSPORT: Final = re.compile(
    rf"\b(?:pasaport|passport)(?:u|unun)?\b{_BETWEEN}(?P<number>[a-z]{{0,3}}[ -]?\d[\d ]{{4,10}}\d"
    r"|(?=[a-z0-9]{0,8}\d)[a-z0-9]{6,10})(?!\w)"
)
_TURKISH_PASSPORT: Final = re.compile(r"(?<!\w)[us]\s?\d{8}(?!\w|[.,]\d)")


def passports(note: Note) -> Iterator[Finding]:
    """Passport numbers by the word before them; Turkish ones (U and eight digits) by their form."""
    for match in _PASSPORT.finditer(note.folded):
        yield Finding(*match.span("number"), TextClass.PASSPORT, "passport")
    for match in _TURKISH_PASSPORT.finditer(note.folded):
        if note.text[match.start()].isupper():
            yield Finding(*match.span(), TextClass.PASSPORT, "turkish passport")


_RECORD_WORDS: Final = (
    r"protokol|prot|sgk|ssk|bag-?kur|emekli\ssandigi|mrn|m\.r\.n|medical\srecord|(?:hospital|unit)\s(?:number|no)"
    r"|accession|acc|"
    r"dosya|kayit|sicil|barkod|numune|ornek|recete|e-?recete|sevk|takip|provizyon|police|sigorta|basvuru|randevu"
    r"|istem|islem|order|"
    r"chart|claim|case|encounter|visit|specimen|sample|prescription|rx|policy|member(?:ship)?|insurance|subscriber"
    r"|beneficiary|"
    r"medicare|medicaid|mbi|hicn|group|account|acct|license|licence|lic|npi|dea|dip(?:loma)?|authori[sz]ation"
    r"|auth|preauth|enrol?lment|bildirim(?:i)?|olay|ref(?:erans)?|dip|diploma(?:\stescil)?|tescil|lab|laboratory|"
    r"hasta|patient|mr|medrec|health\splan|plan|kayit|muayene|epikriz|fis|dekont|abone|uye|uyelik|adisyon|kabul"
    r"|gelis|oda|yatak|slide|blok|block|lot|implant|device|cihaz|dicom|pacs|study|exam|tetkik|rapor|report|biyopsi"
    r"|biopsy|patoloji|pathology|order|requisition|referral|nhs|record|folder|"
    r"arsiv|kart|defter|yatis|vaka|seri|serial|belge|ehliyet|permit|fatura|invoice"
)
_RECORD_NOUNS: Final = r"numarasi|numarali|numara|number|nosu|nolu|num|no|nr|identifier|id'si|id|kodu|code|#|n[o0]\."
_RECORD: Final = re.compile(
    rf"\b(?:{_RECORD_WORDS})(?:\s(?:{_RECORD_WORDS}|kimlik|karti|card|takip|defteri|defter|tescil|giris|merkezi"
    rf"|sistemi)){{0,2}}"
    rf"(?:'?s?[iuy]{{0,2}})[ .:]{{0,3}}(?:{_RECORD_NOUNS})(?:'?l[iu]|'?n[iu]n|'?s[iu])?(?![a-z])"
    r"(?:\s(?:is|was|of|olan|olarak|ise))?[ :=#(.,/-]{0,5}"
    r"(?P<number>(?:[a-z]{1,6}[ ./_-]{0,2}){0,2}\d[a-z0-9]{0,24}(?:[./_-][a-z0-9]{1,12}){0,4}"
    r"(?: \d{2,12}(?![\w.,/:])){0,6})(?!\w)"
)
_BARE_RECORD: Final = re.compile(
    r"\b(?:mrn|lic|auth|authori[sz]ation|preauth|enrol?lment|protocol|bildirimi|unit|ref|dip|m\.r\.n"
    r"|mr(?=\s?[#:])|hicn|visit(?=\s?[#:])|order(?=\s?[#:])|csn|fin|har|hn|pid|uhid|nhs|bht|sut|enc"
    r"|prescription(?=\s\d{4})|badge(?=\s\d{4})|docket|report(?=\s\d{2}-\d{4})|medi-?cal|(?:takip|kayit|arsiv|yatis|basvuru|barcode|file|record|folder)(?=\s?[:#])|barcode|sgk|mbi|npi|dea|protokol[u]?"
    r"|accession|acc|prot|dosya(?:si)?|kaydi|barkod[u]?|e-?recete|provizyon|member|policy|claim|chart|"
    r"specimen|numune|rx|medical\srecord|case|account|acct|encounter|license|licence)"
    r"(?:\s?[:=#.-]{1,3}\s{0,2}"
    r"|\s)\s?(?P<number>(?=[a-z0-9./_-]{0,12}\d)(?:[a-z]{1,6}[ ./_-]?)?\d[a-z0-9]{3,24}(?:[./_-][a-z0-9]{1,12}){0,4}"
    r"|(?:[a-z]{1,5}[-/.]?){0,2}\d{2,6}(?:[-/]\d{2,12}){1,3}|\d{3} \d{3} \d{4})(?!\w)"
)
_OTHER: Final = re.compile(
    r"\b[a-z]{2,16}(?:'s|\s)?\s?(?:numarasi|numarali|numara|number|nosu|no|nr|id|#|kodu"
    r"|code)(?:'?s[iu]|'?[dl][ae]n?|yla|yle|ni|n[iu]n)?(?:\s(?:is|was|ise|olan))?\s?[:#=.]{0,2}\s{0,3}"
    r"(?P<number>(?=[a-z0-9./_-]{0,8}\d[a-z0-9./_-]{0,8}\d)[a-z0-9]{1,12}"
    r"(?:[./_ -](?=[a-z]{0,3}\d)[a-z0-9]{2,12}){0,4})(?!\w)"
)
_BEFORE_NUMBERED: Final = re.compile(
    r"(?<![\w.,/-])(?P<number>(?:[a-z]{1,4}[-/]?)?\d[a-z0-9]{2,24}(?:[./-][a-z0-9]{1,12}){0,3})"
    r"(?:'?[a-z]{2,3})?\s(?:[a-z]{3,12}\s){0,2}?"
    r"(?:numarali|nolu|no'?lu|no'l[iu]|numarasi|sayili|protokol|barkod|mrn)"
)

# Devices, vehicles and study subjects (45 CFR 164.514(b)(2)(i)(L), (M), (R)), and records without "no": by five digits.
_CODE: Final = r"[a-z0-9]{1,24}(?:[./-][a-z0-9]{1,12}){0,3}"
_SUBJECT: Final = re.compile(rf"\b(?:record|file|subject|tescil)(?:\s?[:#=]|\s)\s?(?P<number>{_CODE})(?!\w)")
_DEVICE: Final = re.compile(
    r"\b(?:s/n|sn|seri|serial|lot/serial|udi|imei|vin|sasi|chassis|tracking|account|acct|kargo|hesap)\b"
    r"(?:\s?(?:no|nr|numarasi|number|num|id)\b)?\.?(?:\s(?:is|was))?\s?[:#=.]{0,2}\s{0,2}"
    rf"(?P<number>(?:[a-z]{{2,4}} )?{_CODE}(?: \d{{4}}(?!\w)){{0,3}})(?!\w)"
)
_CARD: Final = re.compile(r"(?<![\d-])[3-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{3,4}(?![\d-])")
_MAC: Final = re.compile(r"(?<![\w:-])(?:[0-9a-f]{2}([:-]))(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}(?![\w:-])")
_USER_MARK: Final = re.compile("user|kullanici|login|rumuz|skype|instagram|twitter|handle|screen name|@")
_USER: Final = re.compile(
    r"\b(?:kullanici\sadi|user\s?name|user\s?id|login|userid|rumuz|skype|instagram|twitter|handle|screen name)"
    r"(?:\s(?:is|was|olarak))?\s?[:=]?\s(?P<number>(?=[a-z0-9._-]{0,20}[\d._])[a-z0-9]"
    r"(?:[a-z0-9._-]{1,24})[a-z0-9])(?!\w)"
    r"|\b(?:user\s?names?|user\s?id|kullanici\sadi|(?:login|user|kullanici)(?=\s?[:=]))(?:\s?[:=]|\s(?:is|was"
    r"|olarak))?\s?"
    r"(?P<word>[a-z][a-z0-9._-]{2,24})(?!\w)"
    r"|(?<![\w@.])@(?P<handle>[a-z][a-z0-9._]{2,29})(?!\w)"
    r"|(?<![\w@.-])(?P<named>[a-z]{2,20}[._]?[a-z0-9]{1,12})(?<=[._\d][a-z0-9])\s(?:kullanici(?:si|sinin)?"
    r"|user(?:\sname)?)\b"
)


# Nothing is measured in so many digits, but things are counted and coded in them.
_BARE: Final = re.compile(
    r"(?<![\w.,/:+*-])(?:\d{7,10}|\d{2,3}-\d{6,8})(?![\w%]|[.,/:*-]\d|\s?(?:/|cop(?:y|ies)|kopya|cells?\b|hucre|iu\b"
    r"|u/|adet|mm|ml|mg|mcg|us?d\b|tl\b|eur|bin\b|units?\b|x\b|bytes?\b|counts?\b|events?\b|haneli))"
)
_COUNTED_BEFORE: Final = re.compile(
    r"(?:sayac[a-z]{0,4}|count(?:er)?|kod[ui]?|codes?|phantom|fantom|version|surum|kalibrasyon|calibration|lot|ref"
    r"|model"
    r"|cpt|icd|ndc|gtin|sut|snomed(?:\sct)?|loinc|sct|umls|mesh|orpha|omim|deger[i]?|value|uid)\s?[:#.]?\s?$"
)


def other_numbers(note: Note) -> Iterator[Finding]:
    """What is called somebody's or something's number and was not recognized as any other."""
    for pattern, fewest in ((_OTHER, 4), (_BEFORE_NUMBERED, 4), (_SUBJECT, 5)):
        for match in pattern.finditer(note.folded):
            if sum(character.isdigit() for character in match["number"]) >= fewest:
                yield Finding(*match.span("number"), TextClass.RECORD_NUMBER, "number")
    for match in _BARE.finditer(note.folded):
        before = note.folded[max(0, match.start() - 24) : match.start()]
        if not match[0].endswith("000") and not _COUNTED_BEFORE.search(before):
            yield Finding(*match.span(), TextClass.RECORD_NUMBER, "long number")
    for match in _MIXED.finditer(note.text):
        if not _NOT_A_RECORD.match(match[0]) and any(character.isalpha() for character in match[0]):
            yield Finding(*match.span(), TextClass.RECORD_NUMBER, "letters and digits")


def accounts_and_devices(note: Note) -> Iterator[Finding]:
    """Serial numbers, chassis and parcel numbers, accounts, payment cards and user names."""
    for match in _DEVICE.finditer(note.folded):
        if sum(character.isdigit() for character in match["number"]) >= 5:
            yield Finding(*match.span("number"), TextClass.OTHER, "serial number")
    for match in _CARD.finditer(note.folded):
        if luhn.is_valid(re.sub(r"\D", "", match[0])):
            yield Finding(*match.span(), TextClass.OTHER, "payment card")
    for match in _USER.finditer(note.folded) if _USER_MARK.search(note.folded) else ():
        which = next(name for name in ("number", "word", "handle", "named") if match[name])
        if which != "word" or not is_in_use(match["word"], turkish=note.turkish):
            yield Finding(*match.span(which), TextClass.OTHER, "user name")
    for match in _MAC.finditer(note.folded):
        yield Finding(*match.span(), TextClass.OTHER, "network card")


_NUMBER_FIRST: Final = re.compile(
    r"(?<![\w.,/-])(?P<number>(?:[a-z]{1,4}[-/]?)?\d[a-z0-9]{2,24}(?:[./-][a-z0-9]{1,12}){0,3})"
    r"\s?(?:no'?lu|numarali|nolu|sayili)\s(?:[a-z]{3,12}\s){0,2}(?:protokol|dosya|kayit|hasta|numune|recete|rapor"
    r"|basvuru|istem|"
    r"biyopsi|preparat|police|sevk|arsiv|barkod)"
    r"|\b(?:protokol|dosya|kayit|numune|recete|basvuru|istem|biyopsi|police|sevk|arsiv"
    r"|barkod)\s(?P<after>\d[a-z0-9]{2,24}"
    r"(?:[./-][a-z0-9]{1,12}){0,3})\s?(?:no'?lu|numarali|nolu)"
)


# By structure alone: letters and five or more digits are no measurement. The numbers of clinical trials, gene variants,
# products and codes are not of this form, or are named in _NOT_A_RECORD.
_MIXED: Final = re.compile(
    r"(?<![\w.,/#:-])(?:[A-Z]{1,4}\d{5,12}[A-Z]{0,2}(?: \d{2,6}(?!\w)){0,3}|[A-Z]{1,4}-\d{5,12}"
    r"|[A-Z]\d{4}(?:(?: \d{2,6}){2}| \d{5})"
    r"|\d{2}-[A-Z]{2}-\d{3,6}|\(01\)\d{14}"
    r"|[A-Z]{2,5}9{0,3} \d{6} [A-Z][A-Z\d]{4}"  # a British driver's
    r"|[A-Z]{1,4}[-/]\d{2,4}[-/]\d{2,8}|\d[A-Z\d]{8,16}(?<=\d)(?: \d{4}(?!\w)){0,3})(?![\w-]|[.,]\d)"
)
_NOT_A_RECORD: Final = re.compile(r"(?:NCT|RS|RID|SCT|CVE|ISO|GO|COVID|SARS|HLA|NM|NP|T\d|GTIN|TC\d)")
_IN_BRACKETS: Final = re.compile(
    r"(?<=[a-z.] \()(?P<number>(?!(?:19|20)\d{2}(?:0[1-9]|1[0-2])[0-3]\d\))[a-z]{0,3}[-/]?(?:\d{6,12}"
    r"|\d{4}/\d{3,8}|\d{2}[-/]\d{4,8}|(?<=[a-z]-)\d{4,8}))(?=\))"
)
_WORKPLACE: Final = re.compile(r"(?<!\d)\d \d{4} \d{2} \d{2} \d{7} \d{3} \d{2} \d{2}(?!\d)")  # SGK, 26 digits less 3
_FOLLOWED: Final = re.compile(  # a MEDULA number, seven letters and digits
    r"\b(?:takip|provizyon|recete|e-?recete)\s(?P<number>(?=[a-z]{0,6}\d)(?=\d{0,6}[a-z])[a-z0-9]{6,8})(?!\w)"
)
_GLUED: Final = re.compile(r"\b(?:mrn|prot|acc|dosya)(?P<number>\d{5,12})(?!\w)")
_NEXT: Final = re.compile(
    r"(?:\s?(?:[,;&/+]|->)\s?|\s(?:ve|and|ile|or|veya|into|to"
    r"|with)\s)(?P<number>(?=[a-z0-9./_-]{0,12}\d{3})[a-z0-9]{1,12}"
    r"(?:[./_-][a-z0-9]{1,12}){0,4})(?!\w)"
)


def record_numbers(note: Note) -> Iterator[Finding]:
    """Numbers of records, specimens, insurances, claims and licences: by the words that announce them."""
    for pattern in (_RECORD, _BARE_RECORD, _GLUED, _FOLLOWED, _IN_BRACKETS):
        for match in pattern.finditer(note.folded):
            if not _is_plain_word(match["number"]):
                yield Finding(*match.span("number"), TextClass.RECORD_NUMBER, "record number")
                if following := _another(note, match):
                    yield Finding(*following, TextClass.RECORD_NUMBER, "record number, one more")
    for match in _WORKPLACE.finditer(note.folded):
        yield Finding(*match.span(), TextClass.RECORD_NUMBER, "workplace number")
    for match in _NUMBER_FIRST.finditer(note.folded):
        yield Finding(*match.span("number" if match["number"] else "after"), TextClass.RECORD_NUMBER, "record number")


def _is_plain_word(number: str) -> bool:
    return not any(character.isdigit() for character in number)


def _another(note: Note, match: re.Match[str]) -> tuple[int, int] | None:
    """Where a second number of the same shape follows: "H-117-2291 ve H-117-2292"."""
    after = _NEXT.match(note.folded, match.end("number"), match.end("number") + 60)
    if after and _shape(after["number"]) == _shape(match["number"]):
        return after.span("number")
    return None


def _shape(number: str) -> str:
    return re.sub(r"[a-z]+", "a", re.sub(r"\d", "0", number))
