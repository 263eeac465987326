"""DLedger: a commit log replicated by Raft, in DLedger 0.3.2's messages and files."""
