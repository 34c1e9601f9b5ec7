"""De-identification of FHIR R4 resources (45 CFR 164.514): JSON values in, JSON values out, no I/O but its own tables.

from anonymize.fhir import SAFE_HARBOR, deidentify_resource

AnonymizeError
├── ResourceQuarantine    the resource cannot be proven clean (reason, for a machine; where)
├── InvalidRules          a file of rules is not understood (where, reason)
└── InvalidTables         a table of FHIR's types or codes is damaged
"""

from anonymize.fhir.deidentification import CLAIM_SYSTEM, Decision, DeidentifiedResource, deidentify_resource
from anonymize.fhir.errors import InvalidRules, InvalidTables, ResourceQuarantine, ResourceReason
from anonymize.fhir.microsoft import load_microsoft_configuration
from anonymize.fhir.pseudonyms import PSEUDONYM_SYSTEM
from anonymize.fhir.rules import SAFE_HARBOR, SHIFTED_DATES, Claim, FhirRules, Method, load_rules

__all__ = [
    "CLAIM_SYSTEM",
    "PSEUDONYM_SYSTEM",
    "SAFE_HARBOR",
    "SHIFTED_DATES",
    "Claim",
    "Decision",
    "DeidentifiedResource",
    "FhirRules",
    "InvalidRules",
    "InvalidTables",
    "Method",
    "ResourceQuarantine",
    "ResourceReason",
    "deidentify_resource",
    "load_microsoft_configuration",
    "load_rules",
]
