"""Judging for a whole run, on as many hosts as there are: the service, its terms and its counters, Beam.

Imports the pool, second looks (`certify`, `generality`), `storage` and what these import.
"""
