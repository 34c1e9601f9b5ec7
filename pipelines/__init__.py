"""What happens to a study: domain types, pure steps, one module per clinical pipeline. No I/O, no database, no patient.

PipelineError
├── UnsuitableImage      the image is sound but must not be analysed (reason)
├── UndecodablePixels    the file or its pixels cannot be read as what the attributes say (reason)
└── InvalidOutput        the model's output is missing or no set of probabilities
"""
