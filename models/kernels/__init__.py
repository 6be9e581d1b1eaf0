"""Convolutions and scans in the forms that processors run fast."""
