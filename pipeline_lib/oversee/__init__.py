"""What people and rules do about readings: the nightly ``checklist``."""
