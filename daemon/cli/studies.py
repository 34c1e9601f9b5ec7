"""`kopru studies …`: which studies there are, what became of each, process one again."""

from typing import Annotated

import typer

from daemon.cli.options import CLOSE_REASONS, FAILED, QUARANTINED_OR_HELD, Json, Limit, Reference, options
from daemon.cli.output import print_json, print_table, say
from daemon.control.limits import CloseReason

app = typer.Typer(help="Studies, under their pseudonyms.", no_args_is_help=True)
Study = Annotated[str, typer.Argument(help="The study's id, from `kopru studies list`.")]


@app.command("list")
def list_studies(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="Only studies whose newest revision is in this state.")] = None,
    limit: Limit = 100,
    json: Json = False,
) -> None:
    """List studies, latest first, with the state of the newest revision."""
    rows = options(context).daemon().ask("studies.list", state=state, limit=limit)
    if json:
        print_json(rows)
    else:
        columns = ("study", "pseudonym", "state", "source", "instances", "revision", "pipeline", "updated_at", "reason")
        first_to_go = ("pipeline", "source", "updated_at", "instances", "revision")
        print_table(rows, columns, empty="no studies", first_to_go=first_to_go)


@app.command("show")
def show_study(context: typer.Context, study: Study, json: Json = False) -> None:
    """Show one study, and what it waits for; exits with 3 while its newest revision is held or quarantined."""
    answer = options(context).daemon().ask("studies.show", study=study)
    if json:
        print_json(answer)
    else:
        say((answer["study"], "bold"), f"  {answer['pseudonym']}  from {answer['source']}\n")
        print_table(
            answer["revisions"],
            ("number", "state", "pseudonym", "pipeline", "forced", "opened_at", "closed_at", "reason"),
            "Revisions",
            first_to_go=("opened_at", "forced", "closed_at", "pipeline"),
        )
        print_table(
            answer["instances"],
            ("id", "standing", "modality", "byte_length", "received_at", "reason"),
            "Instances",
            first_to_go=("byte_length", "received_at"),
        )
        print_table(
            answer["deliveries"],
            ("revision", "destination", "state", "attempts", "status", "updated_at", "outcome"),
            "Deliveries",
            first_to_go=("attempts", "updated_at"),
        )
        if answer["tasks"]:
            print_table(
                answer["tasks"],
                ("id", "kind", "revision", "destination", "state", "attempts", "not_before", "last_error"),
                "Waits for",
                first_to_go=("attempts", "destination"),
            )
    if answer["revisions"] and answer["revisions"][-1]["state"] in ("held", "quarantined"):
        raise typer.Exit(QUARANTINED_OR_HELD)


@app.command("verify")
def verify_study(context: typer.Context, study: Study, json: Json = False) -> None:
    """Check that the study's results are what the engine signed; exits with 1 where one is not."""
    rows = options(context).daemon().ask("studies.verify", study=study)
    if json:
        print_json(rows)
    else:
        columns = ("revision", "model", "version", "standing", "signed_at", "key", "reason")
        print_table(rows, columns, "Results", empty="no results", first_to_go=("key", "signed_at"))
    if any(row["standing"] not in ("valid", "unsigned") for row in rows):
        raise typer.Exit(FAILED)


@app.command("reprocess")
def reprocess_study(context: typer.Context, study: Study, json: Json = False) -> None:
    """Process the study again: a new revision of what is in use now, and an updated report."""
    answer = options(context).daemon().ask("studies.reprocess", study=study)
    if json:
        print_json(answer)
    else:
        say(f"study {answer['study']}: revision {answer['revision']} is on its way")


@app.command("recalled")
def note_recalled(
    context: typer.Context,
    study: Study,
    destination: Annotated[str, typer.Option(help="The destination's name, as `kopru studies show` has it.")],
    reason: Annotated[
        CloseReason,
        typer.Option(metavar="CODE", help=f"done-elsewhere if it was taken out there, else why not: {CLOSE_REASONS}."),
    ],
    reference: Reference = None,
    json: Json = False,
) -> None:
    """Note that what a destination has of the study's former patient, and kopru could not take back, is seen to there.

    Its delivery waits for nobody any longer. Reason and reference go into the audit log for good, with who you are.
    """
    answer = (
        options(context)
        .daemon()
        .ask("studies.recalled", study=study, destination=destination, reason=reason, reference=reference)
    )
    if json:
        print_json(answer)
    else:
        say(f"noted; nobody waits for what {destination} had of the former patient of study {study}")


@app.command("keep")
def keep_study(context: typer.Context, study: Study, json: Json = False) -> None:
    """Decide about a study that contradicts itself: what was there first is right. The audit log names you.

    What contradicts it is set aside, whichever patients it says; it stays stored and listed.
    """
    answer = options(context).daemon().ask("studies.keep", study=study)
    if json:
        print_json(answer)
    else:
        say(
            f"kept, {len(answer['set_aside'])} instances set aside; study {study}: revision {answer['revision']} begins"
        )


@app.command("correct")
def correct_study(
    context: typer.Context,
    study: Study,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="INSTANCE", help="Only what says this instance's patient is right; the rest is set aside."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Decide about a study that contradicts itself: what came later is right. The audit log names you.

    If it says another patient, the whole study becomes that patient's, and what was sent about the one before is taken
    back. Exits with 3 if it says several patients and --to does not name an instance of the right one, or if the study
    has changed just now.
    """
    answer = options(context).daemon().ask("studies.correct", study=study, to=to)
    if json:
        print_json(answer)
    else:
        aside = f", {len(answer['set_aside'])} instances set aside" if answer["set_aside"] else ""
        say(f"corrected{aside}; study {study}: revision {answer['revision']} begins")
