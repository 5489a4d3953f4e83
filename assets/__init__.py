"""What is made: executions, recordings and the catalog."""
