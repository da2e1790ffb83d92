"""The live picture: tracked frames drawn, encoded once and sent to all who watch."""
