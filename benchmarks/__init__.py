"""What things cost: `python -m benchmarks` measures, compares in the same run, and prints one table.

Benchmarks are not tests: a limit that does not hold is shown, and the exit status is 0 unless something broke. Each
module that measures one subject has `measure(laboratory)`, which yields rows of the table.
"""
