"""Cards for the Pi, seen from the host; so far, which devices could be one."""
