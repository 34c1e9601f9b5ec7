"""What a word can be in or beside a person's name, by tables of usual names and of words that are none.

A word of no role at all is unknown: neither a usual name nor in the vocabulary of prose and of the standard. That is
what rare names look like, and `anonymize.text.names` takes one for a name where it stands like one. Beside the roles
are dictionaries (`is_in_use`): a word of those may be part of a name next to another part, but is no rare name alone.
Tables hold folded words; where the long ones come from: tables/make_tables.py.
"""

import re
from functools import cache
from typing import Final

from anonymize.text.finding import table
from anonymize.vocabulary import known_words, standard_words


class Role:
    """Bits, since the operators of `enum.Flag` took over half the time of finding names."""

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
    VOCABULARY: Final = 1 << 10


NAME: Final = Role.GIVEN | Role.FAMILY
NEVER: Final = Role.COMMON | Role.TITLE | Role.AFTER | Role.KIN | Role.PERSON
UNSURE: Final = Role.AMBIGUOUS | Role.EPONYM

_DRUG: Final = re.compile(
    r"[a-z]{3,}(?:mab|nib|pril|sartan|statin|olol|azole|azol|cillin|silin|mycin|misin|micin|oxacin|oksasin"
    r"|prazole|prazol"
    r"|tidine|tidin|vir|zepam|zolam|caine|kain|dipine|dipin|gliptin|gliflozin|parin|xaban|triptan|setron"
    r"|profen|oxetine"
    r"|pramine|azine|amide|cycline|siklin|floxacin|sporin|phylline|solone|terol|tropium|platin|taxel|rubicin"
    r"|bicin|zumab|ximab|formin|glitazone|fibrate|lukast|thiazide|semide|lactone|poetin|gramostim|gadol\w*)"
)
_STEM: Final = 4
_ENGLISH_ENDING: Final = ("s", "es", "ed", "d", "ing", "ly", "al")
_TURKISH_ENDING: Final = re.compile(
    r"(?:l[ae]r)?(?:[iu]|s[iu]|[iu]n|n[iu]n|[iu]m|[iu]m[iu]z)?(?:n?[dt][ae]n?|n?[ae]|y?[iu]|n[iu]|y?l[ae]"
    r"|l[iu]|s[iu]z|ki)?"
)
_ENGLISH_ENDINGS: Final = (*_ENGLISH_ENDING, "er", "ers", "able", "ally", "ness", "ic")
_MEDICAL: Final = re.compile(
    r"[a-z]{2,}(?:osis|itis|iasis|ectomy|o[st]+omy|plasty|o?scop[yei]|graph[yi]|gram[is]?|a?emi[ak]|urian?|algi[ac]|alji|pleg[iy]a?"
    r"|pleji|pares[ei][szi]+|troph[yi]c?|trofi|megal[yi]|lysis|liz|peni[ac]?|omas?|omatozis|oid|path[yi]c?|pati|ektomi|o[sz]tomi|skop[i]?"
    r"|graf[i]?|loj[i]k?|logy|metr[iy]|terapi|therapy|plaz[i]|plasi[ac]|stenoz|stenosis|[aiu][tszk]yon[u]?|ozis|iyaz[i]s?|iyal|oyal"
    r"|romial|sefal[i]|cephal[yi]c?|genez|genesis|sitoz|cytosis|foni|fazi|phasi[ac]|taksi|pnea|pne|tensif|tensive|dermal|ektazi"
    r"|ectasi[as]|malaz[iy]|malaci[ac]|sklero[zt]ik|sclerotic|globins?|ometers?|genic|jenik|kinaz|adrenalin)"
)
_AFTER_SHORT: Final = re.compile(  # of verbs with a stem of three letters
    r"(?:[iu][lnt]|[td][iu]r|m[ae])?(?:[iu]?yor|[dt][iu]|m[iu]s|[ae]c[ae][gk]|m[ae]|[aeiu]r|[ae]n|[iu]p|s[ae])"
)
_HARD: Final = {"g": "k", "d": "t", "b": "p", "c": "c"}  # "çocuğun" is of "çocuk"
_LONGEST_ENDING: Final = 14
_CASE: Final = re.compile(
    r"(?:(?:lar|ler|gil|giller)(?:i|in|a|e|da|de|dan|den)?|n?(?:in|un)|[yn]?(?:i|u|a|e)|n?(?:da|de|dan|den|ta|te"
    r"|tan|ten)|y?(?:la|le)|ca|ce)$"
)


def role_of(plain: str, *, capital: bool) -> int:
    """The roles of a folded word that is written with a capital or without.

    Where it is in no table, those of its stem: without the ending of a case, plural or possessive.
    """
    role = _roles().get(plain, Role.NONE)
    if role or len(plain) <= _STEM - 1:
        return role
    return (_of_inflected_name(plain) if capital else Role.NONE) or _of_unlisted(plain)


def is_curated(plain: str) -> bool:
    """Whether a folded word is a usual name by the tables written by hand."""
    return any(plain in table(name) for name in ("turkish_given", "english_given", "turkish_family", "english_family"))


def is_in_use(plain: str, *, turkish: bool) -> bool:
    """Whether a folded word, or its stem, is in a dictionary: no unknown word, though a name may be made of it.

    Args:
        plain: the word.
        turkish: whether it may have Turkish endings: those are so many that a tenth of all other words would fit.

    """
    return (
        _is_english(plain)
        or bool(_MEDICAL.fullmatch(plain))
        or plain in _turkish()
        or (turkish and _is_inflected_turkish(plain))
    )


def _is_english(plain: str) -> bool:
    words = _english()
    return plain in words or any(
        plain.endswith(ending) and (plain[: -len(ending)] in words or plain[: -len(ending)] + "e" in words)
        for ending in _ENGLISH_ENDINGS
        if len(plain) - len(ending) >= _STEM
    )


def _is_inflected_turkish(plain: str) -> bool:
    words = _turkish()
    return any(
        (plain[:-cut] in words or plain[: -cut - 1] + _HARD.get(plain[-cut - 1], "-") in words)
        and (len(plain) - cut >= _STEM or _AFTER_SHORT.match(plain[-cut:]) or _TURKISH_ENDING.fullmatch(plain[-cut:]))
        and _is_turkish_ending(plain[-cut:])
        for cut in range(1, min(_LONGEST_ENDING, len(plain) - _STEM + 1) + 1)
    )


def is_short_name(word: str) -> bool:
    """Whether a folded word of two or three letters is a usual name, and no word that images are described by."""
    if len(word) > _STEM - 1:
        return False
    role = _roles().get(word, Role.NONE)
    return bool(role & NAME) and not role & NEVER and word not in known_words() and word not in table("everyday")


@cache
def _roles() -> dict[str, int]:
    roles: dict[str, int] = {}
    for role, words in (
        (Role.GIVEN, _tables("turkish_given", "english_given", "census_given", "faker_given", "zemberek_given")),
        (Role.FAMILY, _tables("turkish_family", "english_family", "census_family", "faker_family")),
        (Role.AMBIGUOUS, table("ambiguous")),
        (Role.EPONYM, _tables("eponyms", "icd_eponyms")),
        (Role.COMMON, table("common")),
        (Role.TITLE, table("titles")),
        (Role.AFTER, table("after_names")),
        (Role.KIN, table("kin")),
        (Role.PERSON, table("persons")),
        (Role.PARTICLE, table("particles")),
    ):
        for word in words:
            roles[word] = roles.get(word, Role.NONE) | role
    for word in known_words() | _tables("everyday", "clinical_words"):
        if not roles.get(word, Role.NONE) & (NAME | Role.EPONYM | Role.PARTICLE):
            roles[word] = roles.get(word, Role.NONE) | Role.VOCABULARY
    for word in table("everyday") & roles.keys():
        if roles[word] & NAME:
            roles[word] |= Role.AMBIGUOUS
    return roles


@cache
def _english() -> frozenset[str]:
    return _tables("english_words", "everyday", "clinical_words") | known_words()


@cache
def _turkish() -> frozenset[str]:
    return table("turkish_words") | known_words() - standard_words()


def _is_turkish_ending(letters: str) -> bool:
    """Whether letters are a row of suffixes: of a noun's number, person, case, of a verb's mood, tense, person."""
    suffixes = table("turkish_endings")
    ends = {0}  # where a suffix may begin
    for at in range(1, len(letters) + 1):
        if any(at - length in ends and letters[at - length : at] in suffixes for length in range(1, 5)):
            ends.add(at)
    return len(letters) in ends


def _tables(*names: str) -> frozenset[str]:
    return frozenset[str]().union(*map(table, names))


@cache
def _turkish_stems() -> frozenset[str]:
    return table("common") | (known_words() - standard_words())


@cache
def _sure_names(language: str) -> frozenset[str]:
    names = table(f"{language}_given") | table(f"{language}_family")
    return names - table("ambiguous") - table("eponyms") - table("everyday")


def _of_inflected_name(plain: str) -> int:
    """GIVEN for a Turkish name with a case's ending or an English given name with its bare s, FAMILY for "-oğlu"."""
    for cut in range(1, min(8, len(plain) - 3)):
        if plain[:-cut] in _sure_names("turkish") and _CASE.fullmatch(plain[-cut:]):
            return Role.GIVEN
    if plain.endswith("oglu") and len(plain) > 6:
        return Role.FAMILY
    if plain.endswith("s") and plain[:-1] in _sure_names("english"):
        return Role.GIVEN if plain[:-1] in table("english_given") else Role.FAMILY
    return Role.NONE


def _of_unlisted(plain: str) -> int:
    """VOCABULARY for an inflected word of it and for what is called like a drug."""
    roles = _roles()
    for cut in range(1, min(9, len(plain) - _STEM + 1)):
        ending = plain[-cut:]
        stem = roles.get(plain[:-cut], Role.NONE)
        turkish = plain[:-cut] in _turkish_stems() and _TURKISH_ENDING.fullmatch(ending)
        inflected = turkish or ending in _ENGLISH_ENDING
        if inflected and stem & (Role.VOCABULARY | Role.COMMON) and not stem & NAME:
            return Role.VOCABULARY
    return Role.VOCABULARY if _DRUG.fullmatch(plain) else Role.NONE
