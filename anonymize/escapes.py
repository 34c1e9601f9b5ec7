"""Reads the characters that a text has in an escaped form, as systems between two others leave them: nobody who looks
for words would find a name among them.

Of HTML and XML (&#90; &#x5A; &eacute;), of URLs (%5A), of JSON and programs (u005A and x5A behind a backslash).
"""

import html
import re
from typing import Final
from urllib.parse import unquote

_SOME: Final = re.compile(r"&#?\w|%[0-9A-Fa-f]{2}|\\[ux][0-9A-Fa-f]{2}")
_CODE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2}))")
_NO_TEXT: Final = re.compile("[\0-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff]")  # what no escape may bring into a text
_DEEPEST: Final = 8  # escapes of escapes
_WORDS: Final = re.compile(r"&(?=(?:lt|gt|not)(?![;\w]))", re.IGNORECASE)  # RT&LT: sides, and no escape without its end
_NUMBER: Final = re.compile(r"&#0*(?=[0-9])([0-9]{1,8})[0-9]*")  # more digits are no character, but time without end


def unescaped(text: str) -> str | None:
    """`text` without escapes; None where they are nested deeper than any system makes them."""
    for _ in range(_DEEPEST):
        if not _SOME.search(text):
            return text
        read = html.unescape(_NUMBER.sub(r"&#\1", _WORDS.sub("&amp;", text)))
        read = _CODE.sub(lambda match: chr(int(match[1] or match[2], 16)), unquote(read))
        if read == text:
            return text
        text = _NO_TEXT.sub(" ", read)
    return None
