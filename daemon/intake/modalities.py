"""The defined terms of Modality (0008,0060): PS3.3 C.7.3.1.1.1, those that were retired included.

Sixteen characters of a code string can hold anybody's number, so the index keeps these and no other value.
"""

from typing import Final

_TERMS: Final = """
    ANN AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DG DMS DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT
    IVUS KER KO LEN LS M3D MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PA PLAN POS PR PT PX REG RESP RF RG
    RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA
    XA XAPROTOCOL XC
"""
_RETIRED: Final = "AS CD CF CP CS DD DF DM DS EC FA FS LP MA MS OPR ST VF"

MODALITIES: Final = frozenset(f"{_TERMS} {_RETIRED}".split())
