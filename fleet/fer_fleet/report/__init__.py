"""What the database knows about the devices, for people and for Prometheus. Reads only."""
