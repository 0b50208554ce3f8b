"""What a run leaves, as plain files, without torch."""
