"""What several tests of the settings begin with."""

HOME = {"HOME": "/home/nobody"}
EHR = '[[destinations]]\nname = "ehr"\nkind = "fhir"\nurl = "https://ehr.example/fhir"\n'
SECRET = "kX7-secret"
