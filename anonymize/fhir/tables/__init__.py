"""Facts of FHIR R4 (4.0.1) that ship with the package, and the script that makes them from HL7's definitions."""
