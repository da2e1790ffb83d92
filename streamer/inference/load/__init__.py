"""Overload: how it is measured, and what is reduced until the device keeps up."""
