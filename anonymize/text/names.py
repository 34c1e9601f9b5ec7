"""Names of persons: patients, relatives, staff, Turkish and English, by tables of usual names and by the words around
them.

A word is taken for a name by the first of these that applies, read from left to right:

1. after a label ("Adı Soyadı:", "Patient:", "signed by")
2. after a title ("Dr.", "Sayın", "Mrs"), before one ("Hanım", "Bey"), or after a kinship word ("annesi", "wife")
3. after an initial ("A. Yılmaz"), or before a given name and comma ("Smith, John")
4. a usual given or family name, with the capitalised words that go on from it
5. an unknown word with a capital that stands like a name: two together, with an initial, as the one who does or owns
   something ("Seamus called", "Hester's"), alone between brackets; and a rare one, in no dictionary either, within a
   sentence, at its beginning or after a heading, unless what is said of it makes it a drug, a device or a disease

Then, in the whole text: a telling part of a name found elsewhere, and an item of a list beside a name. In a text typed
without capitals, usual names and what stands beside titles, kin, initials and names are read as if they had one.

Words that are also everyday words (Deniz, Will) or stand for a disease (Behçet, Parkinson) need another part of a
name or one of the first two beside them; words that are never part of a name (tables/common.txt) end one. What is
known of words is in `anonymize.text.roles`, what is known of the text around them in `anonymize.text.name_cues`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from anonymize.text import name_cues as cues
from anonymize.text.finding import Finding, Note, TextClass, Word, table
from anonymize.text.roles import NAME, NEVER, UNSURE, Role, is_curated, is_in_use, role_of

_NUMERALS: Final = {"ii", "iii", "iv"}
_JOINING: Final = {"and", "or", "ve", "veya", "ile"}
_VERBS: Final = {"may", "will", "mark", "bill", "drew", "sue", "grant", "can"}  # in small letters, rather than names
_LISTING: Final = {", ", "; ", ",\n", "\n"}
_FIELD_ENDS: Final = re.compile(r"\n| {2}|\.?(?: ?\n|$)|;|,? \(")
_WORDS_A_CAPITAL: Final = 20  # fewer than one capitalised word in so many: typed without them
_MOST_JOINED: Final = 4  # by hyphens, to either side
_MOST_TITLES: Final = 8  # before one name; without an end, a text of titles alone takes time squared


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
        in_expression = {at for match in cues.EXPRESSION.finditer(note.folded) for at in range(*match.span())}
        self.roles = [self._role(word, in_expression) for word in self.words]
        self.labels = {match.end(): False for match in cues.LABEL.finditer(note.folded)}
        if cues.HEADING_MARK.search(note.folded):
            self.labels |= {match.end(): match["name"] is not None for match in cues.HEADING.finditer(note.folded)}
        self.labels |= {match.end(): True for match in cues.BARE_LABEL.finditer(note.folded)}
        self.addressed = {match.end() for match in cues.PERSON_BEFORE.finditer(note.folded)}
        if self._is_without_capitals():
            self._imagine_capitals()

    def _role(self, word: Word, in_expression: set[int]) -> int:
        if word.start in in_expression:
            return Role.COMMON
        role = role_of(word.plain, capital=word.capital)
        text = self.note.text
        beside_digit = text[max(0, word.start - 1) : word.start].isdigit() or text[word.end : word.end + 1].isdigit()
        return Role.VOCABULARY if role == Role.NONE and beside_digit else role

    def _is_without_capitals(self) -> bool:
        """Whether the text is typed in small letters, so that no capital tells a name."""
        return sum(word.title for word in self.words) * _WORDS_A_CAPITAL < len(self.words)

    def _imagine_capitals(self) -> None:
        """Read the usual names as if they had capitals, and what stands beside a title, an initial or one of them."""
        words = list(self.words)
        told = named = False  # whether a title or kin stands before the word, or a name
        for at, word in enumerate(words):
            role = self.roles[at] or role_of(word.plain, capital=True)
            told = told or (word.start in self.addressed and bool(role & Role.GIVEN))
            initial = at > 0 and len(words[at - 1].plain) == 1 and self._gap(at - 1) in {". ", "."}
            if word.capital or self._is_suffix(at) or not self._is_small_name(at, role, told or initial, named):
                told, named = self._announces(at), False
                continue
            words[at] = replace(word, capital=True, title=True)
            self.roles[at] = role
            if initial:
                words[at - 1] = replace(words[at - 1], capital=True)
            named = told = bool(role & NAME) and at + 1 < len(words) and self._gap(at) == " "
        self.words = words

    def _is_small_name(self, at: int, role: int, told: bool, named: bool) -> bool:
        """Whether a word in small letters is a part of a name: a usual name, or what follows a title or a name."""
        word = self.words[at]
        if named and len(word.plain) == 1:
            return self.note.text[word.end : word.end + 1] == "."
        in_use = is_in_use(word.plain, turkish=self.note.turkish)
        if role & NAME and not role & (UNSURE | NEVER) and (is_curated(word.plain) or not in_use):
            return True
        if told and ((role & NAME and word.plain not in _VERBS) or (role == Role.NONE and len(word.plain) > 3)):
            return bool(role & NAME) or not in_use or (named and self._ends_a_name(at))
        return False

    def _ends_a_name(self, at: int) -> bool:
        """Whether what follows a word in small letters makes a name of it: a suffix after an apostrophe, "isimli"."""
        if at + 1 == len(self.words):
            return False
        if self.words[at + 1].plain in {"isimli", "adli", "tarafindan", "hanim", "bey"}:
            return True
        return self._gap(at).startswith(("'", " (", " |"))

    def _announces(self, at: int) -> bool:
        """Whether a word is a title or one of kin, with a name after it where the next word may be one."""
        role = self.roles[at]
        return bool(role & Role.TITLE) or (bool(role & Role.KIN) and at + 1 < len(self.words) and self._gap(at) == " ")

    def spans(self) -> Iterator[tuple[int, int]]:
        """Of each name; and of each other word that is part of one elsewhere in the text, and is no usual word."""
        at = 0
        parts: set[str] = set()
        beside: set[int] = set()
        others: list[int] = []
        while at < len(self.words):
            first, last = self._name_at(at)
            if last > first:
                yield self.words[first].start, self._end(last - 1)
                parts.update(self.words[part].plain for part in range(first, last) if self._is_telling(part))
                beside.update((first - 1, last))
                if last < len(self.words) and self.words[last].plain in _JOINING:
                    beside.add(last + 1)
            others.extend(range(at, first if last > first else at + 1))
            at = max(at + 1, last)
        for at in others:
            again = self.words[at].capital and (self.words[at].plain in parts or self._is_listed(at, beside))
            if again and not self._before_disease(at):
                yield self.words[at].start, self.words[at].end

    def _is_listed(self, at: int, beside: set[int]) -> bool:
        """Whether a word is an item of a list, next to a name; a word in use, between two separators."""
        if at not in beside or not self.words[at].title or self.roles[at] & ~(NAME | Role.AMBIGUOUS):
            return False
        before = at > 0 and (self._gap(at - 1) in _LISTING or self.words[at - 1].plain in _JOINING)
        ends = at + 1 == len(self.words)
        after = not ends and self._gap(at) in _LISTING
        if not ((before or after) and self._is_rare(at)) and not (
            before and (after or ends or self._gap(at)[0] in ".;")
        ):
            return False
        beside.update((at - 1, at + 1))
        return True

    def _is_telling(self, at: int) -> bool:
        """Whether a part of a name says who is meant wherever it stands: rare or a usual name, and no usual word."""
        word, role = self.words[at], self.roles[at]
        return (
            len(word.plain) > 3
            and not role & ~NAME
            and (bool(role) or not is_in_use(word.plain, turkish=self.note.turkish))
        )

    def _end(self, at: int) -> int:
        """Where a name ends whose last word is given: after the full stop of an initial."""
        end = self.words[at].end
        return end + (len(self.words[at].plain) == 1 and self.note.text[end : end + 1] == ".")

    def _name_at(self, at: int) -> tuple[int, int]:
        """The first and after-last word of the name that begins at a word or after it; equal if there is none."""
        word, role = self.words[at], self.roles[at]
        if word.start in self.labels:
            first = self._past_titles(at)
            last = self._chain(first, told=True, any_case=self.labels[word.start])
            if last > first and not (self._is_bare_label(at) and word.capitals and self._is_plain(at)):
                return first, last
        if role & Role.TITLE and (found := self._after_title(at)):
            return found
        if role & (Role.KIN | Role.PERSON) and (found := self._after_person(at)):
            return found
        if (not word.capital and not role & NAME) or self._is_suffix(at):
            return at, at
        if self._is_small_family_and_given(at):
            return at, at + 2
        if self._is_prose_before_name(at):
            return at, at
        last = self._chain(at, told=self._before_title(at))
        return (at, last) if self._stands(at, last) else (at, at)

    def _is_bare_label(self, at: int) -> bool:
        """Whether no colon or dash stands between a word and what announces it."""
        return at > 0 and not self._gap(at - 1).strip()

    def _is_suffix(self, at: int) -> bool:
        """Whether a word is what an apostrophe joins to another, and no "O'Brien"."""
        return at > 0 and self._gap(at - 1) == "'" and len(self.words[at - 1].plain) > 1

    def _is_prose_before_name(self, at: int) -> bool:
        """Whether this is a usual word with the capital of a sentence's beginning, and a usual name follows."""
        if self.roles[at] != Role.NONE or at + 1 == len(self.words) or self._gap(at) != " ":
            return False
        word, following = self.words[at], self.words[at + 1]
        if word.capitals and len(word.plain) < 5 and following.title:
            return True
        usual = self.roles[at + 1] & NAME and not self.roles[at + 1] & UNSURE
        begins = at == 0 or "." in self._gap(at - 1)
        part = usual or len(following.plain) == 1 or self._is_rare(at + 1)
        return begins and bool(part) and is_in_use(word.plain, turkish=self.note.turkish)

    def _is_small_family_and_given(self, at: int) -> bool:
        """Whether this is the first word of "smith,john"."""
        if self.words[at].capital or at + 1 == len(self.words) or self._gap(at) != ",":
            return False
        following = self.roles[at + 1]
        return bool(self.roles[at] & Role.FAMILY and following & Role.GIVEN and not following & UNSURE)

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
        sure = (
            "." in self._gap(first - 1)
            or not (last_title.capitals and len(last_title.plain) < 4)
            or last_title.plain in {"mrs", "hem", "uzm"}
            or (self.roles[first] == Role.NONE and not is_in_use(self.words[first].plain, turkish=self.note.turkish))
        )
        sure = sure and (
            last_title.capital or last_title.plain in {"dr", "doktor", "nurse", "hemsire", "sayin", "doctor"}
        )
        if not sure and not self.roles[first] & NAME:
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
        role = self.roles[first]
        if not self.words[first].capital or (self.words[at].capitals and not role & NAME and role != Role.NONE):
            return None
        if self.words[first].capitals and self._is_plain(first):
            return None
        if role & (Role.VOCABULARY | Role.EPONYM) and not role & (Role.GIVEN if role & Role.EPONYM else NAME):
            return None
        last = self._chain(first, told=True)
        sure = bool(self.roles[at] & Role.KIN) or last - first > 1
        prose = role & Role.GIVEN and not role & Role.EPONYM and self._is_before_small(first)
        certain = prose or (role & NAME and not role & UNSURE) or (role == Role.NONE and not self.words[first].capitals)
        return (first, last) if last > first and (sure or certain) else None

    def _before_title(self, at: int) -> bool:
        """Whether the run of capitalised words here ends in "Bey", "Hanım" and their like, or in "tarafından"."""
        for ahead in range(at, min(at + 4, len(self.words) - 1)):
            if self.roles[ahead] & NEVER:
                return False
            if self._has_degree(ahead):
                return self.words[at].capital and (ahead > at or bool(self.roles[at] & NAME))
            if self._gap(ahead) not in {" ", ". ", "-"}:
                return False
            following = self.words[ahead + 1]
            if self.roles[ahead + 1] & Role.AFTER and (
                following.plain not in cues.DEGREES or self.words[ahead + 1].capitals
            ):
                in_use = (
                    not self.roles[at] & NAME
                    and self.words[at].capitals
                    and is_in_use(self.words[at].plain, turkish=self.note.turkish)
                )
                return (self.words[at].capital and not in_use) or bool(self.roles[at] & Role.GIVEN)
            if following.plain in {"adli", "isimli", "tarafindan"}:
                return self.words[at].capital and (ahead > at or bool(self.roles[at] & NAME) or self._is_rare(at))
        return False

    def _has_degree(self, at: int) -> bool:
        end = self.words[at].end
        degree = cues.DEGREE.match(self.note.folded, end, end + 16)
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
            known = known or bool(role & NAME)
            family = family or (last > first and bool(role & Role.FAMILY and not role & Role.GIVEN))
            last += 1
            if last < len(self.words) and not self._joined(last - 1, told or known):
                break
        while last > first and self.roles[last - 1] & Role.PARTICLE and not self.roles[last - 1] & NAME:
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
            alike = self.words[at].title == self.words[at + 1].title and len(self.words[at + 1].plain) > 2
            item = at + 2 < len(self.words) and self._gap(at + 1) == ", " and self.words[at + 2].capital
            given = following & Role.GIVEN and not following & UNSURE and not item
            if alike and self._is_rare(at) and (given or (known and self._is_rare(at + 1))):
                return True
            return bool(
                known
                and self.roles[at] & (Role.FAMILY | Role.EPONYM)
                and (following & Role.GIVEN or self._is_capitals_with_initial(at + 1))
                and not following & NEVER
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
            return self._is_initial(at, first, told or known)
        if word.capitals and word.plain in _NUMERALS and known and at > first:
            return True
        if (
            role & Role.PARTICLE
            and at > first
            and word.capital
            and at + 1 < len(self.words)
            and self.words[at + 1].title
        ):
            return True
        if role & NEVER and not self._is_name_all_the_same(at, first, told):
            return False
        if role & Role.EPONYM and self._before_disease(at):
            return False
        if not word.capital:
            return self._goes_on_small(at, first, told, any_case)
        if role & (NAME | Role.PARTICLE):
            return True
        if at == first:
            return told or (role == Role.NONE and len(word.plain) > 2) or self._before_initial(at)
        if role & Role.VOCABULARY:
            return told and len(self.words[at - 1].plain) == 1
        if word.capitals and at - first > 1 and known and self._is_plain(at):
            return False
        hyphened = self._gap(at - 1) == "-"
        return hyphened or told or (not family and self._may_be_family(at))

    def _goes_on_small(self, at: int, first: int, told: bool, any_case: bool) -> bool:
        """Whether a word that begins with a small letter is the next part of a name."""
        role, word = self.roles[at], self.words[at].plain
        if role & Role.PARTICLE and (told or at > first):
            return at + 1 < len(self.words) and (self.words[at + 1].capital or bool(self.roles[at + 1] & Role.PARTICLE))
        if any_case and not role & Role.VOCABULARY:
            return True
        small = not self.words[first].capital
        if role & NAME and not is_curated(word) and is_in_use(word, turkish=self.note.turkish):
            return False
        return bool(
            role & NAME and (not role & (Role.AMBIGUOUS if told else UNSURE) or (told and small and at > first))
        )

    def _is_name_all_the_same(self, at: int, first: int, told: bool) -> bool:
        """Whether a word that is usually none is a part here: a given name after a title, "Ateş" after a given name."""
        word, role = self.words[at], self.roles[at]
        if at == first:
            if self._after_sure_title(at):
                return not role & NEVER & ~Role.COMMON
            told = told and word.capital and not role & (Role.TITLE | Role.AFTER)
            return told and bool(role & NAME) and not (word.capitals and not role & Role.GIVEN)
        if len(self.words[at - 1].plain) == 1 and self._gap(at - 1) in {". ", "."}:
            return word.capital and bool(role & NAME)
        if word.capitals or role & Role.AFTER:
            return False
        return bool(role & Role.FAMILY) and word.capital and bool(self.roles[at - 1] & Role.GIVEN)

    def _before_initial(self, at: int) -> bool:
        """Whether an eponym is a given name: "Rutherford B. Okoye"."""
        if not self.roles[at] & Role.EPONYM or at + 2 >= len(self.words) or self._gap(at) != " ":
            return False
        return len(self.words[at + 1].plain) == 1 and self._gap(at + 1) == ". " and self.words[at + 2].title

    def _after_sure_title(self, at: int) -> bool:
        """Whether "Dr. ", "Mrs. " and the like stand before a word with one capital: who else could follow?"""
        if at == 0 or not self.words[at].title or len(self.words[at].plain) < 3:
            return False
        before = self.words[at - 1]
        return before.plain in {"dr", "mr", "mrs", "ms"} and before.title and self._gap(at - 1) == ". "

    def _may_be_family(self, at: int) -> bool:
        """Whether an unknown word after a given name is written like a family name."""
        word = self.words[at]
        usual = self.roles[at - 1] & NAME and not self.roles[at - 1] & UNSURE
        if word.capitals and not usual and self._is_plain(at):
            return False
        return word.capital and len(word.plain) > 2 and (not word.capitals or not self._before_disease(at))

    def _is_initial(self, at: int, first: int, after_name: bool) -> bool:
        """Whether a single letter is an initial, or the first of "O'Brien" and "d'Aubigny"."""
        if at + 1 == len(self.words):
            ends = self.note.text[self.words[at].end : self.words[at].end + 1] == "."
            return self.words[at].capital and (at > first or after_name) and (after_name or ends)
        gap = self._gap(at)
        if gap == "'" and self.words[at].plain in {"o", "d"}:
            return self.words[at + 1].capital and (self.words[at].capital or at > first)
        alone = after_name and at == first and gap[:1] in {",", ")", "'", ";", ":"}
        return self.words[at].capital and (gap.startswith(".") or alone or (after_name and at > first and gap == " "))

    def _before_disease(self, at: int) -> bool:
        end = self.words[at].end
        disease = cues.DISEASE.match(self.note.folded, end, end + cues.STOP_AFTER_DISEASE)
        if disease and disease[0][-1].isdigit():  # "Gleason 4", but "Ottavio 06:10"
            return not self.roles[at] & Role.GIVEN or bool(self.roles[at] & Role.EPONYM)
        return bool(disease)

    def _stands(self, first: int, last: int) -> bool:
        """Whether words without a title or label beside them are a name."""
        if last <= first:
            return False
        if self._before_title(first):
            return True
        parts = [at for at in range(first, last) if len(self.words[at].plain) > 1]
        if not any(self.roles[at] & NAME for at in parts):
            return self._unknown_stands(first, last, parts)
        roles = [self.roles[at] for at in parts]
        if self._is_hyphened_eponym(first, last):
            return False
        if self.words[first].capitals and len(parts) > 1 and any(map(self._is_plain, parts)):
            return any(role & Role.GIVEN and not role & UNSURE for role in roles)
        if not self.words[first].capital:
            sure = not any(role & UNSURE or not role & NAME for role in roles)
            return len(parts) > 1 and sure and bool(roles[0] & Role.GIVEN) and bool(roles[-1] & Role.FAMILY)
        if len(parts) == 1:
            return last - first > 1 or self._stands_alone(first)
        if all(role & Role.EPONYM for role in roles):
            return last - first > len(parts) and not self._before_disease(last - 1)
        if any(role & NAME and not role & UNSURE for role in roles):
            return True
        return self._unsure_stand(first, last, roles)

    def _unsure_stand(self, first: int, last: int, roles: Sequence[int]) -> bool:
        """Whether two or more words, none of which is a sure name, are one together."""
        if roles[-1] & Role.EPONYM and self._before_disease(last - 1):
            return False
        if roles[0] == Role.NONE:
            return bool(roles[-1] & Role.FAMILY) and not self.words[first].capitals
        if last - first > len(roles):  # an initial between
            return not roles[-1] & Role.VOCABULARY and not self._before_disease(last - 1)
        if not roles[0] & Role.GIVEN:
            return False
        unknown = roles[-1] == Role.NONE and not self.words[last - 1].capitals
        if all(role & NAME for role in roles) and self._is_before_small(last - 1):
            return not self._before_disease(last - 1)
        return bool(roles[-1] & Role.FAMILY) or unknown or (bool(roles[-1] & NAME) and self._as_a_person(first, last))

    def _is_before_small(self, at: int) -> bool:
        """Whether a word has a capital, and what follows in the sentence has none."""
        if not self.words[at].title:
            return False
        return at + 1 == len(self.words) or not self.words[at + 1].capital or self._gap(at) not in {" ", "-"}

    def _stands_alone(self, at: int) -> bool:
        """Whether a usual name by itself is one."""
        role = self.roles[at]
        if role & (Role.COMMON | Role.EPONYM):
            return False
        if not role & Role.AMBIGUOUS:
            return self._is_possessive(at, turkish=not role & Role.GIVEN) or not self._before_disease(at)
        if self._before_disease(at):
            return False
        return self._as_a_person(at, at + 1) or (self._is_in_prose(at) and not self._is_thing(at))

    def _unknown_stands(self, first: int, last: int, parts: Sequence[int]) -> bool:
        """Whether words that are no usual names, nor in the vocabulary, are a name by the way they stand."""
        if not parts or any(self.roles[at] & (Role.VOCABULARY | Role.COMMON) for at in parts):
            return False
        initial = any(
            len(self.words[at].plain) == 1 and self._end(at) > self.words[at].end for at in range(first, last)
        )
        if all(self.words[at].capitals for at in parts):
            return (
                self._as_a_person(first, last)
                or (initial and len(self.words[parts[0]].plain) > 3)
                or (len(parts) > 1 and all(self._is_rare(at) and len(self.words[at].plain) > 3 for at in parts))
            )
        if self._before_disease(last - 1) and not (
            self._is_possessive(last - 1, turkish=True) or (len(parts) > 1 and all(map(self._is_rare, parts)))
        ):
            return False
        if self._is_irish(first):
            return True
        rare = any(self._is_rare(at) for at in parts)
        if (len(parts) > 1 and rare) or initial or self._as_a_person(first, last) or self._in_brackets(first):
            return True
        return self._stands_out(first) and self._is_rare(first) and not self._is_thing(first)

    def _is_hyphened_eponym(self, first: int, last: int) -> bool:
        """Whether all of it is joined to an eponym by hyphens: "Howell-Jolly", "Charcot-Marie-Tooth"."""
        lowest, highest = max(0, first - _MOST_JOINED), min(len(self.words), last + _MOST_JOINED)
        while last < highest and self._gap(last - 1) == "-" and self.words[last].capital:
            last += 1
        while first > lowest and self._gap(first - 1) == "-" and self.words[first - 1].capital:
            first -= 1
        joined = last - first > 1 and all(self._gap(at) == "-" for at in range(first, last - 1))
        return joined and any(self.roles[at] & Role.EPONYM for at in range(first, last))

    def _is_irish(self, first: int) -> bool:
        """Whether this is "O'Hara"."""
        joined = self.words[first].plain == "o" and self._gap(first) == "'" if first + 1 < len(self.words) else False
        return joined and self.words[first + 1].title

    def _is_thing(self, at: int) -> bool:
        """Whether a word is a drug, device or disease by what is said of it, or is listed beside one."""
        end = self.words[at].end
        if cues.THING_AFTER.match(self.note.folded, end, end + cues.THING_AFTER_LENGTH):
            return True
        return self._is_listed_thing(at, -1) or self._is_listed_thing(at, 1)

    def _is_listed_thing(self, at: int, step: int) -> bool:
        """Whether the next item of a list, to the left or right, is known not to be a name."""
        other = at + step
        if not 0 <= other < len(self.words) or self._gap(min(at, other)) not in {", ", "; ", " "}:
            return False
        if self._gap(min(at, other)) == " ":
            if self.words[other].plain not in {"and", "or", "ve", "veya", "then"}:
                return False
            other += step
        if not 0 <= other < len(self.words):
            return False
        role = self.roles[other]
        return self.words[other].capital and bool(role & (Role.VOCABULARY | Role.EPONYM)) and not role & NAME

    def _is_plain(self, at: int) -> bool:
        """Whether a word is in no table of names but in use, or too short to be told from what is."""
        word = self.words[at]
        return not self.roles[at] & NAME and (len(word.plain) < 4 or is_in_use(word.plain, turkish=self.note.turkish))

    def _is_rare(self, at: int) -> bool:
        """Whether a word with a capital is in no table and no dictionary."""
        word = self.words[at]
        return (
            (word.title or word.capitals)
            and self.roles[at] == Role.NONE
            and not is_in_use(word.plain, turkish=self.note.turkish)
        )

    def _as_a_person(self, first: int, last: int) -> bool:
        """Whether words stand as the one who is greeted, says, does or owns something."""
        end = self.words[last - 1].end
        if self.words[first].capitals:
            rare = last - first == 1 and len(self.words[first].plain) > 3 and self._is_rare(first)
            return rare and bool(cues.PERSON_AFTER.match(self.note.folded, end, end + cues.PERSON_AFTER_LENGTH))
        return bool(
            self.words[first].start in self.addressed
            or cues.PERSON_AFTER.match(self.note.folded, end, end + cues.PERSON_AFTER_LENGTH)
            or self._is_possessive(last - 1)
            or self._beside_name(last)
        )

    def _is_possessive(self, at: int, *, turkish: bool = False) -> bool:
        end = self.words[at].end
        match = cues.POSSESSIVE.match(self.note.folded, end, end + 8)
        return bool(match and not (turkish and match[0] == "'s"))

    def _beside_name(self, last: int) -> bool:
        """Whether a usual name follows after "and" or in a list."""
        if last < len(self.words) and self._gap(last - 1) in {", ", "; "}:
            following = self.roles[last]
            return self.words[last].title and bool(following & Role.GIVEN) and not following & UNSURE
        if last + 1 >= len(self.words) or self.words[last].plain not in _JOINING:
            return False
        following = self.roles[last + 1]
        sure = not following & UNSURE or (self._is_before_small(last + 1) and not following & Role.EPONYM)
        return self.words[last + 1].capital and bool(following & Role.GIVEN) and sure

    def _stands_out(self, at: int) -> bool:
        """Whether a word has a capital where only a name has one, or is all that a heading is followed by."""
        word = self.words[at]
        stands = self._is_in_prose(at) or self._begins_prose(at) or self._is_all_of_a_field(at)
        return word.title and len(word.plain) > 3 and stands

    def _is_in_prose(self, at: int) -> bool:
        """Whether a word with a capital stands within a sentence, between words without."""
        if at == 0 or not self.words[at].title:
            return False
        before = self.words[at - 1]
        if self.words[at].plain in table("lands"):
            return False
        if (
            before.plain in table("before_things")
            or before.capital
            or len(before.plain) < 2
            or self._gap(at - 1) not in {" ", ", "}
        ):
            return False
        return at + 1 == len(self.words) or not (self.words[at + 1].capital and self._gap(at) in {" ", "-"})

    def _is_all_of_a_field(self, at: int) -> bool:
        """Whether a word is all that stands after a heading and a colon: "Anesthesia: Brightman"."""
        if at == 0 or not self._gap(at - 1).startswith(":") or "\n" in self._gap(at - 1):
            return False
        return at + 1 == len(self.words) or bool(_FIELD_ENDS.match(self._gap(at)))

    def _begins_prose(self, at: int) -> bool:
        """Whether a word begins what goes on without capitals."""
        if at + 1 == len(self.words) or self._gap(at) != " " or self.words[at + 1].capital:
            return False
        return at == 0 or "." in self._gap(at - 1) or "\n" in self._gap(at - 1)

    def _in_brackets(self, at: int) -> bool:
        word = self.words[at]
        return (
            self.note.text[max(0, word.start - 1) : word.start] == "("
            and self.note.text[word.end : word.end + 1] == ")"
        )
