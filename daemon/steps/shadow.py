"""Beside the steps of a study: ask the challenger of a shadow experiment, and log what it says.

Runs after everything that is reported, in a task of its own: whatever happens to it, be it that the model fails, hangs
or takes its worker down, the study has its result already and never hears of it. What it says is logged under the
patient who has the study when it is logged, or not at all.
"""

from typing import Final

import sqlalchemy as sa

from adapters.keys import KeyDestroyed
from daemon.database import schema as t
from daemon.queue import Task
from daemon.registry import ExperimentState, NotServed
from daemon.registry.experiments import find_experiment
from daemon.registry.log import About, Logged, record
from daemon.registry.versions import by_id
from daemon.steps.asking import NoAnswer, ask, deidentified_refs, failures, why_not
from daemon.steps.preparing import Prepared, prepare
from daemon.steps.step import Commit, Context, TryAgain, nothing
from pipelines.errors import InvalidOutput
from pipelines.pipeline import Pipeline
from runtime import ModelPackage, RuntimeFailure

KIND: Final = "shadow"
PRIORITY: Final = 20
"""Behind all that somebody waits for."""
_ATTEMPTS: Final = 6


class Shadow:
    """Adds rows to the log of inferences; changes nothing else."""

    kind = KIND

    def run(self, context: Context, task: Task) -> Commit:
        """Ask the challenger about the revision's instances, unless the experiment has ended."""
        revision_id, experiment_id = str(task.payload["revision"]), str(task.payload["experiment"])
        with context.node.database.read() as connection:
            experiment = find_experiment(connection, experiment_id)
            challenger = by_id(connection, experiment.challenger_id)
            revision = connection.execute(
                sa.select(t.revision.c.pipeline, t.revision.c.former_patient_id, t.study.c.id, t.study.c.patient_id)
                .join(t.study, t.study.c.id == t.revision.c.study_id)
                .where(t.revision.c.id == revision_id)
            ).one()
            refs = deidentified_refs(connection, revision_id)
        if experiment.state is not ExperimentState.RUNNING or revision.former_patient_id is not None:
            return nothing
        pipeline, packages = context.pipelines[revision.pipeline]
        try:
            package = packages.of(challenger)
        except NotServed as error:
            raise TryAgain(str(error), maximum_attempts=_ATTEMPTS) from None
        try:
            patient = context.node.keys.patient(revision.patient_id)
        except KeyDestroyed:  # the patient was erased: nothing is asked
            return nothing
        logged = _answers(context, pipeline, package, prepare(context, refs, pipeline, package), task)
        about = About(
            revision_id=revision_id,
            patient=patient,
            patient_id=revision.patient_id,
            version_id=challenger.id,
            experiment_id=experiment_id,
            reported=False,
        )

        def commit(connection: sa.Connection) -> None:
            if _patient_of(connection, revision.id) == revision.patient_id:
                record(connection, about, logged)

        return commit

    def on_dead(self, context: Context, connection: sa.Connection, task: Task, reason: str) -> None:
        """Nothing becomes of the revision: it never waited for this."""


def _patient_of(connection: sa.Connection, study_id: str) -> str:
    """Whose the study is; nobody gives it to another before the transaction ends (`daemon.intake.correcting`)."""
    query = sa.select(t.study.c.patient_id).where(t.study.c.id == study_id).with_for_update(read=True)
    return str(connection.execute(query).scalar_one())


def _answers(
    context: Context, pipeline: Pipeline, package: ModelPackage, prepared: Prepared, task: Task
) -> tuple[Logged, ...]:
    """What the challenger says; what it fails at counts in the experiment too."""
    try:
        return ask(context, pipeline, package, prepared, PRIORITY).logged
    except NoAnswer as error:
        raise TryAgain(str(error), maximum_attempts=_ATTEMPTS) from None
    except RuntimeFailure as error:
        if error.retryable and task.attempts < _ATTEMPTS:
            raise TryAgain(why_not(error), maximum_attempts=_ATTEMPTS) from None
        return failures(prepared, error)
    except InvalidOutput as error:
        return failures(prepared, error)
