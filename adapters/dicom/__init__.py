"""DICOM over the network: an acceptor that stores what it receives, a sender, and a destination that gets instances
(PS3.4 A and B, PS3.7, PS3.8); and the instances that are made for a PACS.

DicomError
├── ProtocolError     the peer breaks the protocol; ends its association
├── ConnectionLost    the peer closed without a release
├── StoreRefusal      an instance is not taken (status, comment)
└── SendError         no association, so nothing could be sent
    ├── PeerUnreachable      no connection, or no answer
    ├── AssociationRejected  (source, reason)
    └── AssociationAborted
"""

from adapters.dicom.acceptor import AcceptorSettings, serve_acceptor
from adapters.dicom.destination import DicomDestination, Outgoing
from adapters.dicom.dimse import Status
from adapters.dicom.errors import (
    AssociationAborted,
    AssociationRejected,
    ConnectionLost,
    DicomError,
    PeerUnreachable,
    ProtocolError,
    SendError,
)
from adapters.dicom.made import MANUFACTURER, MadeInstance, StudyContext
from adapters.dicom.secondary_capture import Picture, secondary_capture
from adapters.dicom.send import Peer, SendResult, send_files
from adapters.dicom.storage_service import StoreRefusal

__all__ = [
    "MANUFACTURER",
    "AcceptorSettings",
    "AssociationAborted",
    "AssociationRejected",
    "ConnectionLost",
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
    "secondary_capture",
    "send_files",
    "serve_acceptor",
]
