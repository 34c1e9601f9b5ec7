"""The hiding places as a page of Markdown, `docs/hiding-places.md`."""

from collections.abc import Iterator, Sequence

from benchmarks.leak_places.place import DEPTHS, EXPLICIT, NATIVE, SIX, Place

_PREFACE = """\
# Hiding places

Where `python -m benchmarks.leaks` plants identifiers, to count in the bytes that come out of de-identification what
is left of them. This page is what `python -m benchmarks.leaks --list` prints. The {count} places are written from
PS3.3, PS3.5, PS3.6, PS3.10 and PS3.15 Annex E and know nothing of the engine; `tests/anonymize/test_leaks.py` runs
them in a short and a long form.

- **Syntaxes.** "Six" are Implicit and Explicit VR Little Endian, Explicit VR Big Endian, Deflated, JPEG Baseline and
  RLE; "native" the first four; "explicit" all but the first. JPEG 2000 stands where a place needs it.
- **Character sets.** The default repertoire, ISO_IR 100, ISO_IR 148, ISO_IR 192, ISO 2022 IR 87 and GB18030; two of
  them where the place is not text.
- **Depths.** 0 is the data set itself; 1 to 3 are items of standard sequences within each other, of defined and of
  undefined length.
- **Refusal.** "Allowed" where quarantine answers as well as cleaning, since the bytes are malformed or prove nothing;
  elsewhere a quarantined file counts as too strict.

A token is a random word, number, UID or date that fits the VR. It is looked for in upper and lower case, in the
character set that it was planted in, in UTF-8 and UTF-16, in base64 and hexadecimal, reversed and in the other byte
order; in the file as it is, inflated, in every zlib stream and every base64, hexadecimal or ASCII85 run within, in
each bit plane of native pixels; and in the trail and the words of a refusal.
"""
_NAMED = {SIX: "six", NATIVE: "native", EXPLICIT: "explicit"}


def markdown(places: Sequence[Place]) -> str:
    """The whole page."""
    return "\n".join([_PREFACE.format(count=len(places)), *_tables(places), ""])


def _tables(places: Sequence[Place]) -> Iterator[str]:
    for number, group in enumerate(dict.fromkeys(place.group for place in places)):
        yield from [""] * bool(number)
        yield f"## {group}\n\n| place | what is planted | syntaxes | depths | refusal |\n|---|---|---|---|---|"
        for place in (place for place in places if place.group == group):
            each = ", ".join(syntax.name.replace("_", " ") for syntax in place.syntaxes)
            depths = "0 to 3" if place.depths == DEPTHS else ", ".join(map(str, place.depths))
            refusal = "" if place.provable else "allowed"
            yield f"| {place.name} | {place.what} | {_NAMED.get(place.syntaxes, each)} | {depths} | {refusal} |"
