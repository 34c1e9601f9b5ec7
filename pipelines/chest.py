"""Whether an image says that it shows the chest: what all pipelines about the chest ask before they take one."""

from typing import Final

from pipelines.pipeline import Technical

_CHEST_PARTS: Final = frozenset({"CHEST", "THORAX", "LUNG"})
# CID 4009 "DX Anatomy Imaged" and what it was before: thorax, chest, lung.
_CHEST_REGIONS: Final = frozenset(
    {("SCT", code) for code in ("816094009", "51185008", "39607008")}
    | {(scheme, code) for scheme in ("SRT", "SNM3", "99SDM") for code in ("T-D3000", "T-28000")}
)


def wrong_body_part(technical: Technical) -> str | None:
    """Why not, None for a chest. Refuses another part; silence is refused only where the codes were looked at too."""
    if technical.body_part and technical.body_part not in _CHEST_PARTS:
        return "the body part is not the chest"
    if technical.region_codes is None:
        return None
    if technical.region_codes and not set(technical.region_codes) <= _CHEST_REGIONS:
        return "the anatomic region is not the chest"
    if not technical.region_codes and not technical.body_part:
        return "nothing in the image says which body part it shows"
    return None
