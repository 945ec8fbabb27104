"""Rules as values: facts in, verdict out. Pure: no input or output, no clock."""
