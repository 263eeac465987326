"""The disk: commit log, consume queues, index files, recovery, retention."""
