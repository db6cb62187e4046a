"""The work itself: operations, admission, batches, workers. Nothing here knows HTTP."""
