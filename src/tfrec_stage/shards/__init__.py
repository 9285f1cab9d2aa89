"""Plan, write, index: which record goes where, and the files that come of it."""
