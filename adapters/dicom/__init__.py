"""DICOM over the network: an acceptor that stores what it receives, a sender, and a destination that gets instances
(PS3.4 A and B, PS3.7, PS3.8); and the instances that are made for a PACS.

DicomError
├── DanglingReference what was made refers to what is not among its images
├── ProtocolError     the peer breaks the protocol; ends its association
├── ConnectionLost    the peer closed without a release
├── StoreRefusal      an instance is not taken (status, comment)
└── SendError         no association, so nothing could be sent
    ├── PeerUnreachable      no connection, or no answer
    ├── AssociationRejected  (source, reason)
    └── AssociationAborted
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

from adapters.dicom.acceptor import AcceptorSettings, serve_acceptor
from adapters.dicom.dimse import Status
from adapters.dicom.errors import (
    AssociationAborted,
    AssociationRejected,
    ConnectionLost,
    DanglingReference,
    DicomError,
    PeerUnreachable,
    ProtocolError,
    SendError,
)
from adapters.dicom.storage_service import StoreRefusal

if TYPE_CHECKING:
    from adapters.dicom.destination import DicomDestination
    from adapters.dicom.made import MadeInstance, StudyContext
    from adapters.dicom.outgoing import Outgoing
    from adapters.dicom.outlines import referenced_images, segmentation_on
    from adapters.dicom.pictures import Picture, secondary_capture
    from adapters.dicom.send import Peer, SendResult, send_files

__all__ = [
    "AcceptorSettings",
    "AssociationAborted",
    "AssociationRejected",
    "ConnectionLost",
    "DanglingReference",
    "DicomDestination",
    "DicomError",
    "MadeInstance",
    "Outgoing",
    "Peer",
    "PeerUnreachable",
    "Picture",
    "ProtocolError",
    "SendError",
    "SendResult",
    "Status",
    "StoreRefusal",
    "StudyContext",
    "referenced_images",
    "secondary_capture",
    "segmentation_on",
    "send_files",
    "serve_acceptor",
]

_ELSEWHERE: Final = {
    **dict.fromkeys(("MadeInstance", "StudyContext"), "made"),
    **dict.fromkeys(("referenced_images", "segmentation_on"), "outlines"),
    **dict.fromkeys(("Picture", "secondary_capture"), "pictures"),
    **dict.fromkeys(("Peer", "SendResult", "send_files"), "send"),
    "DicomDestination": "destination",
    "Outgoing": "outgoing",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for: who only receives need not load what sends, and with it all of pynetdicom."""
    if name not in _ELSEWHERE:
        raise AttributeError(f"module 'adapters.dicom' has no attribute {name!r}")
    return getattr(importlib.import_module(f"adapters.dicom.{_ELSEWHERE[name]}"), name)
