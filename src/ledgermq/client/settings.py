"""The check that all constructors share."""


def require_positive(**settings: float) -> None:
    """Raises ValueError naming the first setting that is not above zero."""
    for name, value in settings.items():
        if not value > 0:
            raise ValueError(f"{name}={value} must be above zero")
