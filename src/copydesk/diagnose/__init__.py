"""What a log says before anything is trained on it."""
