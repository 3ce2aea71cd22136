"""The broker of machines without Mosquitto. Only this package names amqtt."""
