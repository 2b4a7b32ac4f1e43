"""How fast a model answers here, and the documents it is measured with."""
