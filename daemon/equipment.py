"""As which device this installation makes instances, so that one of them is known when it comes back.

The UID follows from the master key: no other device has it, and it is the same after the database was lost. It tells
nothing about a patient or a study.
"""

from adapters.keys import MasterKey
from anonymize import map_uid
from pipelines.results import MANUFACTURER


def device_uid(master: MasterKey) -> str:
    """Device UID (0018,1002) of whatever is made for a PACS (PS3.3 C.7.5.1)."""
    return map_uid(master.subkey("equipment"), MANUFACTURER)
