"""What de-identification leaves behind: unique identifiers planted in hiding places, counted in what comes out.

Run as ``python -m benchmarks.leaks [--seed N] [--files N] [--place TEXT] [--option NAME] [--list]``. With an option of
PS3.15 E.3 that cleans, nothing may survive either; one that retains keeps what it says. A survivor is a token found in
an output: in its bytes, after inflating, in base64, hexadecimal, UTF-16 or the other byte order, or in the words of a
refusal. A quarantined instance leaks nothing, but counts as too strict where the place can be cleaned for certain.
Exits with 1 if anything survived, was refused too strictly or was lost, or if references or intervals broke.
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from anonymize import BASIC, Option, Policy
from benchmarks.leak_places import PLACES, Place, kept, listing, study, whole_files
from benchmarks.leak_places.trial import Outcome, cases, run

ALL_PLACES = (*PLACES, *whole_files.PLACES)
_DETAILS = 3  # survivors shown of each place


@dataclass
class Tally:
    """What became of a place's files."""

    place: Place
    outcomes: list[Outcome] = field(default_factory=list)
    keeps_more: bool = False  # than the Basic Profile: what that removes for certain may then be held

    @property
    def passed(self) -> int:
        """Files that came out."""
        return sum(outcome.refused is None and outcome.broken is None for outcome in self.outcomes)

    @property
    def refused(self) -> Counter[str]:
        """Quarantined files by reason."""
        return Counter(outcome.refused for outcome in self.outcomes if outcome.refused is not None)

    @property
    def broken(self) -> Counter[str]:
        """Files that raised anything but Quarantine, by the exception's class."""
        return Counter(outcome.broken for outcome in self.outcomes if outcome.broken is not None)

    @property
    def survivors(self) -> int:
        """Tokens found afterwards."""
        return sum(len(outcome.survivors) for outcome in self.outcomes)

    @property
    def lost(self) -> Counter[str]:
        """Technical attributes that were lost, and in how many files."""
        return Counter(name for outcome in self.outcomes for name in outcome.lost)

    @property
    def too_strict(self) -> bool:
        """Whether a file was quarantined though its place can be cleaned for certain."""
        return self.place.provable and not self.keeps_more and bool(self.refused)

    @property
    def failed(self) -> bool:
        """Whether anything is wrong."""
        return bool(self.survivors or self.broken or self.lost or self.too_strict)


def measure(places: Iterable[Place], seed: int, limit: int | None, policy: Policy = BASIC) -> Iterator[Tally]:
    """De-identify `limit` files of each place, or every combination there is; whole files by the Basic Profile."""
    files = []
    for place in places:
        if place in whole_files.PLACES:
            files.append(place)
        else:
            yield Tally(place, [run(case, policy) for case in cases(place, seed, limit)], policy != BASIC)
    if not files:
        return
    by_place: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in whole_files.run_all([case for place in files for case in cases(place, seed, limit)]):
        by_place[outcome.case.place.name].append(outcome)
    yield from (Tally(place, by_place[place.name]) for place in files)


def print_table(tallies: Sequence[Tally]) -> None:
    print(f"{'place':<46}{'files':>6}{'passed':>8}{'quarantined':>13}{'survivors':>11}{'lost':>6}  remarks")
    for tally in tallies:
        remarks = ["too strict"] * tally.too_strict + [f"raised {name}" for name in tally.broken]
        remarks += [f"{count} × {reason}" for reason, count in tally.refused.items()]
        print(
            f"{tally.place.name:<46}{len(tally.outcomes):>6}{tally.passed:>8}{tally.refused.total():>13}"
            f"{tally.survivors:>11}{tally.lost.total():>6}  {'; '.join(remarks)}"
        )


def print_details(tallies: Sequence[Tally]) -> None:
    for tally in tallies:
        found = [(o.case, survivor) for o in tally.outcomes for survivor in o.survivors]
        for case, survivor in found[:_DETAILS]:
            print(f"SURVIVED {case.name}: {survivor.label}, {survivor.view}: {survivor.form!r}")
        if len(found) > _DETAILS:
            print(f"         and {len(found) - _DETAILS} more of {tally.place.name}")
        for name, count in tally.lost.items():
            print(f"LOST     {tally.place.name}: {name} in {count} files")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=12, help="of each place; 0 for every combination")
    parser.add_argument("--place", default="", help="only places whose name holds this")
    parser.add_argument("--option", action="append", default=[], type=Option, help="of PS3.15 E.3; may be repeated")
    parser.add_argument("--list", action="store_true", help="list the hiding places in Markdown and stop")
    options = parser.parse_args()
    if options.list:
        print(listing.markdown(ALL_PLACES), end="")
        return 0
    chosen = [place for place in ALL_PLACES if options.place in place.name]
    policy = Policy(frozenset(options.option))
    tallies = list(measure(chosen, options.seed, options.files or None, policy))
    print_table(tallies)
    print_details(tallies)
    files, survivors = (sum(len(t.outcomes) for t in tallies), sum(t.survivors for t in tallies))
    passed, quarantined = sum(t.passed for t in tallies), sum(t.refused.total() for t in tallies)
    print(f"\n{len(tallies)} places, {files} files: {passed} passed, {quarantined} quarantined, {survivors} survivors")
    survey, graph = kept.survey(), study.follow(options.seed)
    print(f"over-removal: {len(survey.lost)} of {survey.given} technical attributes lost {' '.join(survey.lost)}")
    print(
        f"UID graph: {graph.uids} UIDs in {graph.instances} instances, {graph.kept} of {graph.references} places kept, "
        f"{len(graph.wrong)} wrong {'; '.join(graph.wrong)}"
    )
    shifted = study.follow(options.seed, Policy(frozenset({Option.RETAIN_LONGITUDINAL_MODIFIED_DATES})))
    moved = ", ".join(map(str, sorted(shifted.offsets)))
    print(f"dates, where modified ones are retained: {shifted.dates_kept} came out; days moved: {moved}")
    wrong = graph.wrong or shifted.wrong or len(shifted.offsets) != 1
    return int(any(t.failed for t in tallies) or bool(survey.lost) or bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
