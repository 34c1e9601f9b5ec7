"""The sections of the settings: one frozen model for each table, with each key's meaning and allowed values."""
