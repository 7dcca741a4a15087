"""From two half-maps and their FSC to the reference of the next iteration."""
