"""What happens to a study: domain types, pure steps, one module per clinical pipeline. No I/O, no database, no patient."""
