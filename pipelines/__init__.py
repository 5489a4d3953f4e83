"""When and where things run: definitions, partitions, jobs, schedules, sensors and the command line."""
