"""Odd and hostile media, made when the tests run, and what a source makes of each."""
