"""The terms that PS3.3 and PS3.16 define for the two attributes that every scanner fills with words.

A patient can be called Head, or have the number 0001. Where the standard itself says that an attribute holds such a
term, the term tells nobody anything of the patient; it is no reason to keep an instance back. In any other attribute,
and within a longer value, it is.
"""

from collections.abc import Mapping
from typing import Final

_IMAGE_TYPE: Final = (  # PS3.3 C.7.6.1.1.2, C.8.2.1.1.1, C.8.4.9.1.1, C.8.5.6.1.1, C.8.7.10.1.1, C.8.16.1
    b"ORIGINAL DERIVED PRIMARY SECONDARY MIXED AXIAL LOCALIZER NONE VOLUME ANGIO CARDIAC PERFUSION STATIC DYNAMIC GATED"
    b" TOMO EMISSION TRANSMISSION BIPLANE SINGLE PROJECTION MULTIPLANE ABDOMINAL BREAST CHEST FETAL"
    b" 0001 0002 0004 0008 0010 0020 0040 0080 0100 0200 0400 0800"
)
_BODY_PART: Final = (  # PS3.16 Table L-1
    b"ABDOMEN ADRENAL ANKLE ANUS AORTA ARM AXILLA BACK BLADDER BRAIN BREAST BRONCHUS BUTTOCK CALCANEUS CALF"
    b" CAROTID CEREBELLUM CHEEK CHEST CLAVICLE COCCYX COLON CORNEA CSPINE CTSPINE DUODENUM EAR ELBOW ESOPHAGUS"
    b" EXTREMITY EYE EYELID FACE FEMUR FIBULA FINGER FOOT FOREARM GALLBLADDER HAND HEAD HEADNECK HEART HIP HUMERUS"
    b" ILEUM ILIUM JAW JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LSPINE LSSPINE LUNG MANDIBLE MAXILLA MEDIASTINUM MOUTH"
    b" NECK NOSE ORBIT OVARY PANCREAS PAROTID PATELLA PELVIS PENIS PHARYNX PROSTATE RECTUM RIB SACRUM SCALP SCAPULA"
    b" SCLERA SCROTUM SHOULDER SIJOINT SKULL SPINE SPLEEN SSPINE STERNUM STOMACH TESTIS THIGH THORAX THUMB THYMUS"
    b" THYROID TIBIA TLSPINE TMJ TOE TONGUE TRACHEA TSPINE ULNA URETER URETHRA UTERUS VAGINA VULVA WRIST WHOLEBODY"
    b" ZYGOMA"
)
_TERMS: Final[Mapping[int, frozenset[bytes]]] = {
    0x00080008: frozenset(_IMAGE_TYPE.split()),
    0x00089007: frozenset(_IMAGE_TYPE.split()),  # Frame Type
    0x00180015: frozenset(_BODY_PART.split()),
}


def without_terms(tag: int, value: bytes) -> bytes:
    """What is left of a value of code strings without those that the standard defines for the attribute."""
    terms = _TERMS.get(tag)
    if terms is None:
        return value
    return b"\\".join(part for part in value.split(b"\\") if part.strip() not in terms)
