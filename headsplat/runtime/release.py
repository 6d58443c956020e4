"""The version of the installed package."""


def installed_version() -> str:
    """Such as "0.2.0"; where only the source folder is there, words that say so."""
    # Only a few commands need it, and the import is slow.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("headsplat")
    except PackageNotFoundError:
        return "not installed"
