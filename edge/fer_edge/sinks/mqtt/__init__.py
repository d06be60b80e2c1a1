"""Events over MQTT, with Home Assistant's discovery."""
