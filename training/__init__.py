"""Making and evaluating models, offline. Nothing that serves imports this; what it hands on is a model package.

`training.chest_xray` is the entry point (``python -m training.chest_xray --data DIR --out DIR``). Importing this
package does not import torch, so that splits and measures can be used where torch is not installed.

    TrainingError
    ├── ConfigError      the configuration names an unknown key or an impossible value
    ├── DataError        the data set is incomplete or contradicts itself
    ├── CheckpointError  a checkpoint is missing, unreadable, or of another run
    ├── Interrupted      a signal ended the run; --resume goes on
    └── ParityError      the exported model does not compute what the trained one does
"""

from training.errors import CheckpointError, ConfigError, DataError, Interrupted, ParityError, TrainingError

__all__ = ["CheckpointError", "ConfigError", "DataError", "Interrupted", "ParityError", "TrainingError"]
