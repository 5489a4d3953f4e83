"""The Dagster side: definitions, sensors and schedules alone, then the real daemon and the real web interface."""
