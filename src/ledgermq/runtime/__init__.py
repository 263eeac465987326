"""Where the outside world is touched: clock, configuration, limits, logging, build facts."""
