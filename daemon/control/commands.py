"""What the control socket answers: one function a command, from a `Node` and arguments to JSON values. No identity
in any.
"""

from collections.abc import Mapping
from typing import Final

from daemon.control.audit import audit_export, audit_tail, audit_verify
from daemon.control.contradictions import studies_correct, studies_keep
from daemon.control.drift import models_drift
from daemon.control.models import (
    models_experiment_show,
    models_experiment_start,
    models_experiment_stop,
    models_feedback,
    models_list,
    models_promote,
    models_rollback,
    models_versions,
)
from daemon.control.quarantine import (
    quarantine_list,
    quarantine_reject,
    quarantine_release,
    quarantine_restore,
    quarantine_retry,
)
from daemon.control.recalls import studies_recalled
from daemon.control.results import studies_verify
from daemon.control.routes import models_routes
from daemon.control.server import Command
from daemon.control.status import status
from daemon.control.studies import studies_list, studies_reprocess, studies_show
from daemon.control.tasks import tasks_close, tasks_list, tasks_retry, tasks_retry_all

COMMANDS: Final[Mapping[str, Command]] = {
    "status": status,
    "studies.list": studies_list,
    "studies.show": studies_show,
    "studies.reprocess": studies_reprocess,
    "studies.verify": studies_verify,
    "studies.keep": studies_keep,
    "studies.correct": studies_correct,
    "studies.recalled": studies_recalled,
    "quarantine.list": quarantine_list,
    "quarantine.release": quarantine_release,
    "quarantine.reject": quarantine_reject,
    "quarantine.restore": quarantine_restore,
    "quarantine.retry": quarantine_retry,
    "tasks.list": tasks_list,
    "tasks.retry": tasks_retry,
    "tasks.retry-all": tasks_retry_all,
    "tasks.close": tasks_close,
    "audit.verify": audit_verify,
    "audit.tail": audit_tail,
    "audit.export": audit_export,
    "models.list": models_list,
    "models.drift": models_drift,
    "models.routes": models_routes,
    "models.versions": models_versions,
    "models.promote": models_promote,
    "models.rollback": models_rollback,
    "models.experiment-start": models_experiment_start,
    "models.experiment-stop": models_experiment_stop,
    "models.experiment-show": models_experiment_show,
    "models.feedback": models_feedback,
}
