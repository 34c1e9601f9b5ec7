"""Tell an operator's rejection from a note's, and keep no modality that is no defined term."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_MODALITIES = """
    ANN AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DG DMS DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT
    IVUS KER KO LEN LS M3D MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PA PLAN POS PR PT PX REG RESP RF RG
    RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA
    XA XAPROTOCOL XC
    AS CD CF CP CS DD DF DM DS EC FA FS LP MA MS OPR ST VF
"""


def upgrade() -> None:
    """Go from revision 0002 to 0003."""
    instance = sa.table("instance", sa.column("standing"), sa.column("reason"), sa.column("modality"))
    op.execute(
        sa.update(instance)
        .where(instance.c.standing == "rejected", instance.c.reason.startswith("rejected by an operator"))
        .values(standing="rejected-by-operator")
    )
    op.execute(sa.update(instance).where(instance.c.modality.not_in(_MODALITIES.split())).values(modality=None))
