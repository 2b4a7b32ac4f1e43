"""From data sets to an adapter: selection, packing, the loop, its folder. No terminals."""
