"""The tables of the standard that de-identification is driven by, and the script that makes them."""
