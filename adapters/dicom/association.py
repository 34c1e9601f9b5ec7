"""One association from its request to its end, as the acceptor sees it (PS3.8 7, PS3.7 9.3), in a thread of its own.

Tells the intake what happened: opened, released, aborted, rejected, each refused instance. It answers success to a
C-STORE only after `IntakeWriter.write` has returned. Whatever the peer sends ends at most its own association.
"""

import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import structlog

from adapters.dicom.connection import Connection
from adapters.dicom.dimse import Command, CommandField, Message, MessageAssembler, Status, encode_response
from adapters.dicom.errors import AbortReason, ConnectionLost, ProtocolError
from adapters.dicom.events import Events, Intake
from adapters.dicom.negotiation import AeRules, Rejection, answer_contexts, rejection_of
from adapters.dicom.storage_service import StoreRefusal, check_instance, refusal_of_store
from adapters.dicom.upper_layer import (
    AssociateRequest,
    ContextAnswer,
    ContextResult,
    PduType,
    encode_abort,
    encode_associate_accept,
    encode_associate_reject,
    encode_command,
    encode_release_response,
    parse_associate_request,
    split_pdvs,
)
from adapters.keys import KeyStoreError
from adapters.storage import EventKind, ObjectRef, Receipt, ReceiptKind, StoreError

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AssociationRules:
    """What holds for every association of a receiver."""

    ae: AeRules
    maximum_pdu_bytes: int
    maximum_object_bytes: int
    request_timeout_seconds: float
    take_slot: Callable[[], Callable[[], None] | None]
    on_stored: Callable[[ObjectRef], None]
    events: Events


class Association:
    """Serves one connection. `serve` returns when it is closed; `abort` may be called from another thread."""

    def __init__(self, connection: Connection, peer_address: str, rules: AssociationRules, intake: Intake) -> None:
        self.id: Final = str(uuid.uuid4())
        self._connection = connection
        self._peer_address = peer_address
        self._rules = rules
        self._intake = intake
        self._request: AssociateRequest | None = None
        self._slot = ExitStack()
        self._aborting = False
        self._stored = 0
        self._refused = 0
        self._log = _log.bind(association=self.id, peer=peer_address)

    def abort(self) -> None:
        """End the association after the message in hand: the receiver stops."""
        self._aborting = True
        self._connection.interrupt()

    def serve(self) -> None:
        """From the association request to the closed connection."""
        linger = False
        try:
            linger = self._serve()
        except ProtocolError as error:
            self._end(str(error), error.reason)
            linger = True
        except TimeoutError:
            self._end("the peer was silent for too long", AbortReason.NOT_SPECIFIED)
        except ConnectionLost as error:
            if self._aborting:
                self._end("the receiver stops", AbortReason.NOT_SPECIFIED)
            elif self._request is not None or not error.cleanly:  # who only opens and closes is a load balancer's check
                self._end(str(error), None)
        except Exception:
            self._end("a fault in this receiver; see its log", AbortReason.NOT_SPECIFIED)
            raise
        finally:
            self._connection.close(linger=linger)

    def _serve(self) -> bool:
        request = self._read_request()
        give_back = None
        rejection = rejection_of(request, self._rules.ae)
        if rejection is None and (give_back := self._rules.take_slot()) is None:
            rejection = Rejection.LIMIT_EXCEEDED
        if rejection is not None:
            self._reject(request, rejection)
            return True
        assert give_back is not None
        with ExitStack() as self._slot:
            self._slot.callback(give_back)
            self._accept_and_receive(request)
        return True

    def _read_request(self) -> AssociateRequest:
        deadline = time.monotonic() + self._rules.request_timeout_seconds
        kind, body = self._connection.read_pdu(deadline=deadline)
        if kind is not PduType.ASSOCIATE_RQ:
            raise ProtocolError(AbortReason.UNEXPECTED_PDU, "the first PDU is no association request")
        return parse_associate_request(bytes(body))

    def _reject(self, request: AssociateRequest, rejection: Rejection) -> None:
        self._connection.send(encode_associate_reject(rejection.result, rejection.source, rejection.reason))
        self._log.warning(
            "association_rejected", calling=request.calling_ae, called=request.called_ae, why=rejection.text
        )
        self._record(EventKind.ASSOCIATION_REJECTED, request, detail=rejection.text)

    def _accept_and_receive(self, request: AssociateRequest) -> None:
        self._request = request
        answers = answer_contexts(request)
        self._log = self._log.bind(calling=request.calling_ae, called=request.called_ae)
        self._log.info("association_opened")
        self._record(EventKind.ASSOCIATION_OPENED, request)
        self._connection.send(encode_associate_accept(request, answers, self._rules.maximum_pdu_bytes))
        contexts = {answer.id: answer for answer in answers if answer.result is ContextResult.ACCEPTANCE}
        assembler = MessageAssembler(self._rules.maximum_object_bytes)
        while not self._aborting:
            kind, body = self._connection.read_pdu()
            if kind is PduType.P_DATA:
                for pdv in split_pdvs(body):
                    if pdv.context_id not in contexts:
                        raise ProtocolError(AbortReason.INVALID_PARAMETER, "a presentation context was not accepted")
                    if (message := assembler.feed(pdv)) is not None:
                        self._answer(message, contexts[message.context_id])
            elif kind is PduType.RELEASE_RQ:
                self._release(request, cut=not assembler.is_idle)
                return
            elif kind is PduType.ABORT:
                self._end("the peer aborted", None)
                return
            else:
                raise ProtocolError(AbortReason.UNEXPECTED_PDU, "a PDU comes that does not belong here")
        self._end("the receiver stops", AbortReason.NOT_SPECIFIED)

    def _release(self, request: AssociateRequest, *, cut: bool) -> None:
        detail = "released within a message" if cut else ""
        self._log.info("association_released", stored=self._stored, refused=self._refused, detail=detail)
        self._record(EventKind.ASSOCIATION_RELEASED, request, detail=detail)
        self._slot.close()  # before the peer knows: it may ask for its next association at once
        self._connection.send(encode_release_response())

    def _end(self, detail: str, abort_reason: AbortReason | None) -> None:
        """Record an end that is no release; tell the peer unless it knows (`abort_reason` None)."""
        if abort_reason is not None:
            try:
                self._connection.send(encode_abort(abort_reason))
            except (ConnectionLost, TimeoutError):
                detail += "; the peer did not take our abort"
        event = EventKind.CONNECTION_REFUSED if self._request is None else EventKind.ASSOCIATION_ABORTED
        self._log.warning(event.value.replace("-", "_"), stored=self._stored, refused=self._refused, detail=detail)
        self._record(event, self._request, detail=detail)

    # Messages

    def _answer(self, message: Message, context: ContextAnswer) -> None:
        command = message.command
        if (
            command.kind == CommandField.C_CANCEL_RQ
        ):  # nothing here runs long enough to cancel; no answer (PS3.7 9.3.2.3)
            return
        if command.is_response:
            raise ProtocolError(AbortReason.NOT_SPECIFIED, "a response comes, but we asked nothing")
        if command.kind == CommandField.C_STORE_RQ:
            status, comment = self._store(message, context)
        elif command.kind == CommandField.C_ECHO_RQ:
            status, comment = Status.SUCCESS, ""
        else:
            status, comment = Status.UNRECOGNIZED_OPERATION, "only C-STORE and C-ECHO are served here"
        self._respond(message.context_id, command, status, comment)

    def _respond(self, context_id: int, command: Command, status: Status, comment: str) -> None:
        assert self._request is not None
        response = encode_response(command, status, comment)
        self._connection.send(encode_command(context_id, response, self._request.maximum_length))

    def _store(self, message: Message, context: ContextAnswer) -> tuple[Status, str]:
        try:
            check_instance(message, context)
            ref = self._write(message, context)
        except StoreRefusal as refusal:
            self._refuse(message, context, refusal)
            return refusal.status, refusal.comment
        self._stored += 1
        self._rules.on_stored(ref)
        return Status.SUCCESS, ""

    def _write(self, message: Message, context: ContextAnswer) -> ObjectRef:
        try:
            return self._intake.write(
                self._receipt(ReceiptKind.INSTANCE, self._request, message, context), message.data_set
            )
        except (StoreError, KeyStoreError) as error:
            self._log.error("store_unavailable", reason=str(error))
            raise refusal_of_store(error) from error

    def _refuse(self, message: Message, context: ContextAnswer, refusal: StoreRefusal) -> None:
        self._refused += 1
        self._log.warning("instance_refused", status=f"0x{refusal.status:04X}", reason=refusal.comment)
        self._record(EventKind.INSTANCE_REFUSED, self._request, refusal.comment, message, context, refusal.status)

    # Events

    def _record(
        self,
        event: EventKind,
        request: AssociateRequest | None,
        detail: str = "",
        message: Message | None = None,
        context: ContextAnswer | None = None,
        status: Status | None = None,
    ) -> None:
        """Leave a sealed event in the intake."""
        self._rules.events.record(self._receipt(ReceiptKind.EVENT, request, message, context, event, status, detail))

    def _receipt(
        self,
        kind: ReceiptKind,
        request: AssociateRequest | None,
        message: Message | None = None,
        context: ContextAnswer | None = None,
        event: EventKind | None = None,
        status: Status | None = None,
        detail: str = "",
    ) -> Receipt:
        return Receipt(
            kind=kind,
            received_at=time.time(),
            association_id=self.id,
            calling_ae=request.calling_ae if request else "",
            called_ae=request.called_ae if request else "",
            peer_address=self._peer_address,
            sop_class_uid=message.command.sop_class_uid if message else "",
            sop_instance_uid=message.command.sop_instance_uid if message else "",
            transfer_syntax_uid=context.transfer_syntax if context else "",
            high_priority=message.command.high_priority if message else False,
            event=event,
            status=status,
            detail=detail,
            stored=self._stored,
            refused=self._refused,
        )
