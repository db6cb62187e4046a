"""Files: facts and payloads to bytes and back, and samples kept losslessly. No torch."""
