"""The tables of words by which names are found in free text, and the script that makes those taken from elsewhere."""
