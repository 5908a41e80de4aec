"""Images and labels: where they come from, how they are split, batched and augmented."""
