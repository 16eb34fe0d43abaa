"""`python -m avse` is `avse`."""

from avse.cli import main

if __name__ == "__main__":
    main()
