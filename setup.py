"""Build ledgermq: pure Python described in pyproject.toml, plus the hot modules that mypyc compiles."""

from setuptools import setup

setup()
