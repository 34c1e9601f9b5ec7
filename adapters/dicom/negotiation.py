"""Whether to accept an association, and which of its presentation contexts (PS3.8 7.1.1, PS3.4 B). Values in and out.

Storage is unrestricted: every storage SOP class is taken, and every UID that the standard's registry (PS3.6 A) does not
know, for it may be a private or a newer one; known SOP classes of other services are not. Of the proposed transfer
syntaxes the first is taken, known or not, since nothing is ever transcoded here; but one that leaves the pixels behind
a URL (JPIP) only if there is no other, and the retired MIME and XML encodings never.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from pydicom._uid_dict import UID_dictionary

from adapters.dicom.upper_layer import (
    APPLICATION_CONTEXT,
    AssociateRequest,
    ContextAnswer,
    ContextResult,
    ProposedContext,
)

VERIFICATION: Final = "1.2.840.10008.1.1"
_MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"  # a file on a medium, never sent (PS3.3 F)

_STORAGE_SOP_CLASSES: Final = frozenset(
    uid
    for uid, (name, kind, *_) in UID_dictionary.items()
    if kind == "SOP Class" and "Storage" in name and not name.endswith("SOP Class") and uid != _MEDIA_STORAGE_DIRECTORY
)
_NO_DATA_SET: Final = frozenset({"1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2"})  # MIME, XML
_PIXELS_ELSEWHERE: Final = frozenset(
    {"1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.204", "1.2.840.10008.1.2.4.205"}
)


class Rejection(Enum):
    """A-ASSOCIATE-RJ: result, source, reason (PS3.8 Table 9-21), and what an operator reads."""

    APPLICATION_CONTEXT = (1, 1, 2, "the application context name is not that of DICOM")
    CALLING_AE = (1, 1, 3, "the calling AE title is not among the sources")
    CALLED_AE = (1, 1, 7, "the called AE title is not ours")
    PROTOCOL_VERSION = (1, 2, 2, "the protocol version is not supported")
    LIMIT_EXCEEDED = (2, 3, 2, "as many associations are open as are allowed")

    def __init__(self, result: int, source: int, reason: int, text: str) -> None:
        self.result = result
        self.source = source
        self.reason = reason
        self.text = text


@dataclass(frozen=True, slots=True)
class AeRules:
    """Who may call whom. `calling` None: anyone may; `called` None: by any name. Titles without outer spaces."""

    called: str | None
    calling: frozenset[str] | None


def rejection_of(request: AssociateRequest, rules: AeRules) -> Rejection | None:
    """Why the request is not accepted, the first that applies; None if it is."""
    if not request.protocol_version & 1:
        return Rejection.PROTOCOL_VERSION
    if request.application_context != APPLICATION_CONTEXT:
        return Rejection.APPLICATION_CONTEXT
    if rules.calling is not None and request.calling_ae not in rules.calling:
        return Rejection.CALLING_AE
    if rules.called is not None and request.called_ae != rules.called:
        return Rejection.CALLED_AE
    return None


def answer_contexts(request: AssociateRequest) -> list[ContextAnswer]:
    """The answer to each proposed context, in the same order."""
    return [_answer(context) for context in request.contexts]


def is_storage(abstract_syntax: str) -> bool:
    """Whether C-STORE is taken for it: a storage SOP class, or one that the registry does not know."""
    return bool(abstract_syntax) and (abstract_syntax in _STORAGE_SOP_CLASSES or abstract_syntax not in UID_dictionary)


def _answer(context: ProposedContext) -> ContextAnswer:
    usable = [uid for uid in context.transfer_syntaxes if uid and uid not in _NO_DATA_SET]
    usable.sort(key=_PIXELS_ELSEWHERE.__contains__)  # stable: the peer's order otherwise
    chosen = usable[0] if usable else ""
    if context.abstract_syntax != VERIFICATION and not is_storage(context.abstract_syntax):
        result = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    elif not usable:
        result = ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
    else:
        result = ContextResult.ACCEPTANCE
    return ContextAnswer(context.id, result, context.abstract_syntax, chosen)
