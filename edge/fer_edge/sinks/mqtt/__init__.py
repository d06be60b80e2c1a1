"""Publish events and states over MQTT, with Home Assistant discovery."""
