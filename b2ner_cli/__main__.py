"""`python -m b2ner_cli` is `b2ner`."""

from b2ner_cli.cli.app import main

if __name__ == "__main__":
    main()
