"""Model packages: a directory with `model.toml` and the files it lists, each with its SHA-256.

What `model.toml` says is checked once, here, so that the rest of the runtime can rely on it; a package with a changed,
missing or unlisted file is refused. Nothing in a package is ever executed or unpickled by reading it.

A package looks like this (`write_package` fills in ``[files]``); all that the smallest one needs stands above
``[preprocessing]``::

    name = "digits"                     # letters, digits, . and -
    version = "1.0.0"
    weights = "model.onnx"              # .onnx ONNX, .pt2 torch.export, .ts TorchScript, .rules.toml rules
    intended_use = "Reads handwritten digits."
    research_only = true                # true: no result may be used for a patient
    licence = "Apache-2.0"              # of the weights
    training_data = "60,000 images of …"

    [batch]
    size = 8                            # most samples in one run
    wait_ms = 5                         # longest wait of a request for others to join it
    sample_threads = 1                  # optional: ONNX on a CPU runs samples side by side, each on one thread

    [[inputs]]
    name = "image"
    dtype = "float32"
    shape = ["batch", 1, 28, 28]        # the first dimension is always "batch"

    [[outputs]]                         # the first output is the one that the labels are about
    name = "probabilities"
    dtype = "float32"
    shape = ["batch", 10]
    role = "scores"                     # optional: scores, heatmap, embedding or mask
    lowest = 0.0                        # optional, as are highest and total: no number is below it
    highest = 1.0                       # … or above it
    total = 1.0                         # what those of one sample add up to

    [preprocessing]                     # what clients do to an image, see `runtime.preprocess`
    kind = "grayscale"                  # or "none"
    size = [28, 28]                     # rows, columns
    resize = "letterbox"                # or "stretch", "crop"
    mean = 0.5                          # optional: 0 and 1
    std = 0.25
    channels = 1
    # bits = 16                         # instead of mean and std: uint16, 0 (black) to 65535 (white); or 8, to 255

    [[labels]]                          # one for each position of the first output: here ten, 0 to 9
    index = 0
    name = "zero"
    system = "https://example.org/digits"
    code = "0"
    display = "Digit zero"
    threshold = 0.5

    [[variants]]                        # the same model in another file, or the same file in another precision
    file = "model.int8.onnx"
    precision = "int8"                  # float32, float16, bfloat16 or int8; of `weights`: `precision` at the top
    tolerance = 0.05                    # largest absolute difference of any output from the answers of [check]

    [remote]                            # the same model behind an Open Inference Protocol v2 server
    url = "grpcs://models.example.org:8001"  # http(s):// for REST, grpc(s):// for gRPC; plain only to loopback
    model = "digits"                    # its name there
    version = "3"                       # optional
    tolerance = 0.001

    [[routes]]                          # where it may run, in order of preference; by default cuda, then cpu
    on = "cuda"                         # cuda, tensorrt, cpu or remote
    precision = "float32"               # optional; by default that of `weights`

    [[routes]]
    on = "cpu"
    precision = "int8"
    file = "model.int8.onnx"            # optional; needed where two files have that precision
    max_samples = 4                     # optional, as are min_samples, priority_at_most and
    waiting_at_least = 16               # waiting_at_least: samples that wait for the route before it

    [check]                             # inputs and the answers to them: proven on each route before it serves
    file = "check.npz"                  # arrays "input:image" and "output:probabilities", of few samples
    tolerance = 0.0001

    [gate]                              # tells inputs that the model was not made for
    file = "gate.npz"

    [reference]                         # distributions of inputs and outputs on training data, for drift
    file = "reference.json"

    [metrics]
    "accuracy (five-fold)" = 0.991

    [files]
    "model.onnx" = "<sha256, 64 hex digits>"
    …
"""

from runtime.package.archives import read_arrays, write_arrays
from runtime.package.description import ModelDescription
from runtime.package.loading import (
    DESCRIPTION,
    Admission,
    ModelPackage,
    copy_package,
    sign_package,
    store_package,
    write_package,
)
from runtime.package.parts import (
    DTYPES,
    Batch,
    Check,
    DType,
    Format,
    Grayscale,
    Label,
    NoPreprocessing,
    OutputSpec,
    Place,
    Precision,
    Preprocessing,
    Remote,
    Resize,
    Role,
    Route,
    TensorSpec,
    Variant,
)

__all__ = [
    "DESCRIPTION",
    "DTYPES",
    "Admission",
    "Batch",
    "Check",
    "DType",
    "Format",
    "Grayscale",
    "Label",
    "ModelDescription",
    "ModelPackage",
    "NoPreprocessing",
    "OutputSpec",
    "Place",
    "Precision",
    "Preprocessing",
    "Remote",
    "Resize",
    "Role",
    "Route",
    "TensorSpec",
    "Variant",
    "copy_package",
    "read_arrays",
    "sign_package",
    "store_package",
    "write_arrays",
    "write_package",
]
