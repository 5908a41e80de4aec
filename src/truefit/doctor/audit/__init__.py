"""The audit of a data set: what is wrong with its files, splits and labels. It reads, and changes nothing."""
