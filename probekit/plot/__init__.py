"""Results in, Altair charts out, without torch."""
