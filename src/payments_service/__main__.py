"""`python -m payments_service`: the same as `python -m payments_service.server`."""

from payments_service.server import main

if __name__ == "__main__":
    main()
