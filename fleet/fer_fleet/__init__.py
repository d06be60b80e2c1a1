"""The events of many devices: from an MQTT broker into PostgreSQL."""
