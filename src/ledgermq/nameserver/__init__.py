"""Routes, broker liveness, key-value configuration."""
