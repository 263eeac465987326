"""The message: properties, the commit-log record, batch units, ids, compression."""
