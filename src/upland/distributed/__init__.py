"""Scoring, testing of groups and fitting on many machines by Ray; the extra `ray`."""
