"""What each technique is worth: the same protocol for every row, several seeds, intervals."""
