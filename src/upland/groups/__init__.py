"""What a group of rows is tested by: statistics, null distributions, reasons, verdicts."""
