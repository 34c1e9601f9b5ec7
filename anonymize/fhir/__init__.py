"""De-identification of FHIR R4 resources given as plain JSON: values in, values out."""
