"""The embedded MQTT broker: our sockets and acknowledgements, amqtt's sessions."""
