"""From documents to results: the loop, the store of answers, whole runs. No terminals."""
