"""Tables: what a column is, how it is encoded, and the way back."""
