"""HTTP: what comes in as a request and goes out as an answer."""
