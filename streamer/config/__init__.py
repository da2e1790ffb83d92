"""The configuration: its schema, how it is composed and checked, and what ships with it."""
