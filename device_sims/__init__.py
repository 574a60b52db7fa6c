"""Fleets of simulated MQTT devices, and the proof that nothing they were promised was lost.

The package is a stranger to the gateway: it imports nothing from it and speaks MQTT 3.1.1 through `aiomqtt`,
as a customer's device would. What it says about a gateway or a broker can therefore be trusted and repeated
against any other one.
"""
