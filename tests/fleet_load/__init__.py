"""Many simulated devices, a broker, ``fer-edge fleet ingest`` and PostgreSQL: ``make bench-fleet``."""
