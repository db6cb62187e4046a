"""The codec: pictures to bytes and back. No HTTP, settings, environment or global state."""
