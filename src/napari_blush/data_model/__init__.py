"""The nouns, frozen and validated once. Nothing here reads, writes, plots or computes."""
