"""The table that ships is the standard's; a damaged or foreign one is refused."""

import hashlib
from importlib.resources import files
from pathlib import Path

import pytest

from anonymize.errors import InvalidProfile
from anonymize.profile import ActionCode, Option, load_profile, parse_profile
from anonymize.rules import check
from anonymize.tables.make_table import make_table

TABLE = files("anonymize.tables").joinpath("e1_1.txt").read_text("utf-8")


def resealed(text: str) -> str:
    """The table with a checksum and a count that fit again."""
    lines = text.splitlines(keepends=True)
    body = "".join(line for line in lines if not line.startswith("# "))
    return f"# edition: x\n# rows: {body.count(chr(10))}\n# sha256: {hashlib.sha256(body.encode()).hexdigest()}\n{body}"


def test_the_table_is_that_of_the_edition_2026d_with_its_657_rows():
    profile = load_profile()
    assert profile.edition == "2026d"
    assert len(profile) == 657
    assert profile.rows[0x00100020].basic is ActionCode.EMPTY_OR_DUMMY
    assert profile.rows[0x00081140].basic is ActionCode.REMOVE_EMPTY_OR_UIDS
    assert profile.rows[0x00080020].options == {
        Option.RETAIN_LONGITUDINAL_FULL_DATES: ActionCode.KEEP,
        Option.RETAIN_LONGITUDINAL_MODIFIED_DATES: ActionCode.CLEAN,
    }


def test_patterns_cover_repeating_and_private_groups():
    profile = load_profile()
    assert profile.row(0x50120010).pattern == "50xxxxxx"
    assert profile.row(0x60043000).pattern == "60xx3000"
    assert profile.row(0x60044000).pattern == "60xx4000"
    assert profile.row(0x60030010) is profile.row(0x00091001) is profile.private
    assert profile.row(0x60040010) is None
    assert profile.row(0x00280010) is None


@pytest.mark.parametrize(
    "damaged",
    [
        TABLE.replace("00100030 Z", "00100030 K"),
        "\n".join(TABLE.splitlines()[:-3]),
        "",
        resealed(TABLE).replace("# rows: 657", "# rows: 658"),
        resealed(TABLE.replace("00100030 Z", "00100030 Q")),
        resealed(TABLE.replace("retain_uids=K", "retain_everything=K")),
        resealed(TABLE.replace("odd X", "00110011 X")),
    ],
)
def test_a_damaged_table_is_refused_when_it_is_read(damaged):
    with pytest.raises(InvalidProfile):
        parse_profile(damaged)


@pytest.mark.parametrize("row", ["00080060 K", "00280010 X/Z/U*", "00080016 X/Z/U*"])
def test_an_action_that_cannot_be_applied_is_refused_before_any_instance_is_touched(row):
    with pytest.raises(InvalidProfile):
        check(parse_profile(resealed(f"{row}\nodd X\n")))


def test_the_script_makes_a_table_that_can_be_read(tmp_path: Path):
    source = tmp_path / "table.csv"
    source.write_text(
        "tag,basic_profile,retain_uids\n"
        '"(0010,0010)",Z,\n"(50xx,xxxx)",X,\n"(0020,000D)",U,K\n"(gggg,eeee) where gggg is odd",X,\n'
    )
    profile = parse_profile(make_table(source, "2099z"))
    assert (profile.edition, len(profile)) == ("2099z", 4)
    assert profile.rows[0x0020000D].options == {Option.RETAIN_UIDS: ActionCode.KEEP}
