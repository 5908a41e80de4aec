"""Networks by name. To add one: a file here with `names`, `build` and `image_sizes`; nothing else changes."""
