"""Data sets as things to look at and to make: count, check, convert, choose, compare, rename.

    splits       what there is to read: the documents of a split of a data set, in any format
    statistics   how much of it
    checks       what is wrong with it
    writing      the same documents in another format
    sampling     parts of it: splits and samples
    pruning      a part that covers the types with texts that differ
    conflicts    the same label annotated differently in two sets
    renaming     other names for labels, set by set

Knows nothing of terminals; of models only what `pruning` is handed.
"""
