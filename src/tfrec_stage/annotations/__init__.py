"""Rules for annotations: what is wrong with them, and what a policy repairs."""
