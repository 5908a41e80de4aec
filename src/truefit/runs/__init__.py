"""What a training leaves behind: the run folder, its history and its evaluations."""
