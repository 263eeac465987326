"""Measurements: ledgermq and the Java broker in turn, and how ledgermq bears large numbers of idle things.

`python -m bench` (`make bench`) runs the cases of cases.py; `python -m bench.scale` those of scale.py.
"""
