"""The smallest changes of rows that make them normal."""
